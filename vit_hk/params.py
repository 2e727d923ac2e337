"""params.yaml as frozen, validated settings; a mistake becomes one line that names the key."""

import difflib
import itertools
import math
import re
import unicodedata
from collections.abc import Hashable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from vit_hk.errors import UserError, in_one_line, shorten, unreadable

# Control characters, surrogates, private and unassigned code points, line and paragraph separators.
# Format characters (Cf), such as the zero-width joiner, are parts of words in some scripts.
CONTROL_CATEGORIES = {"Cc", "Cs", "Co", "Cn", "Zl", "Zp"}
MAX_BYTES = 100_000  # a settings file is small; more than this is a mistake or an attack


def _refuse_rounding(value: Any) -> Any:
    """Refuse a whole number that no float64 holds exactly, since it would be rounded unnoticed."""
    if isinstance(value, int) and abs(value) > 2**53:
        raise PydanticCustomError("no_float", "a whole number up to 2**53, or one with a point")
    return value


Number = Annotated[float, BeforeValidator(_refuse_rounding)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]
OpenFraction = Annotated[float, Field(gt=0.0, lt=1.0)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
DataName = Literal["mnist", "fashion_mnist", "kmnist", "cifar10", "npz", "folder"]
Resize = Literal["crop", "pad", "stretch"]
MAX_IMAGE_SIDE = 4096  # pixels
MAX_POSITION_ELEMENTS = 2**28  # of the positions of all patches: 1 GiB
ImageSide = Annotated[int, Field(ge=1, le=MAX_IMAGE_SIDE)]
Channels = Literal[1, 3]
GreyLevel = Annotated[int, Field(ge=0, le=255)]
HeadFusion = Literal["mean", "max", "min"]
Precision = Literal["float32", "bfloat16"]
Platform = Literal["auto", "cpu", "gpu"]
Gelu = Literal["erf", "tanh"]
Stem = Literal["linear", "conv", "cct", "hybrid"]
CorruptionName = Literal[
    "gaussian_noise", "impulse_noise", "gaussian_blur", "brightness", "translate", "thicken", "thin"
]
ImageShape = Sequence[int]  # height, width and channels
RANDOM_WEIGHTS = "models/random"  # a file of the project, since DVC wants each dependency to exist


def is_plain_text(text: str) -> bool:
    """Return whether a text is not blank and has no control characters, in any script."""
    return bool(text.strip()) and not any(map(is_control, text))


def is_control(character: str) -> bool:
    """Return whether a character is of CONTROL_CATEGORIES."""
    return unicodedata.category(character) in CONTROL_CATEGORIES


class Settings(BaseModel):
    """Base class of all sections: frozen, exact types, no unknown keys, no NaN, no defaults.

    There are no defaults: a missing key is an error, never a value that nobody wrote.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)


class Preparation(Settings):
    """How images become arrays of one shape; recorded with a data set and with its weights.

    Attributes:
      height, width: in pixels.
      channels: 1 (grey) or 3 (red, green, blue).
      resize: what happens to an image of another shape: "crop" cuts off what stands over, "pad"
        fills up with the background, "stretch" changes its proportions.
      background: grey level below transparent pixels and around padded images.
    """

    height: ImageSide
    width: ImageSide
    channels: Channels
    resize: Resize
    background: GreyLevel

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height and width in pixels, and the number of channels."""
        return self.height, self.width, self.channels


class DataSettings(Settings):
    """Which data set to use, where it lies, how its images are prepared, and what to do offline.

    `root` is the folder of raw files, with the name "npz" a file of one's own, and with "folder" a
    folder of images or an archive of one. `image_size` is height and width; None leaves
    images as they are, and so does `channels`.
    """

    name: DataName
    root: str
    offline: Literal["sample", "fail"]
    image_size: Annotated[list[ImageSide], Field(min_length=2, max_length=2)] | None
    channels: Channels | None
    resize: Resize
    background: GreyLevel
    test_fraction: OpenFraction

    @field_validator("root")
    @classmethod
    def _is_path(cls, root: str) -> str:
        if not is_plain_text(root):
            raise ValueError(
                f"data.root is {shorten(root)}; allowed: the path of a folder or file, without "
                "control characters"
            )
        if root.startswith("~"):
            raise ValueError(
                f"data.root is {shorten(root)}, for DVC a folder of the name ~; write its path "
                "from / or from the project's folder"
            )
        return root

    @model_validator(mode="after")
    def _folder_has_a_size(self) -> "DataSettings":
        if self.name == "folder" and self.image_size is None:
            raise ValueError(
                "data.image_size is null; with data.name = folder it must be [height, width], the "
                "size in pixels that all images are brought to"
            )
        return self


class ModelSettings(Settings):
    """The architecture of the Vision Transformer; terms as in arXiv 2010.11929, table 1."""

    patch_size: Count
    stem: Stem
    hidden_size: Count
    num_layers: Annotated[int, Field(ge=1, le=1000)]
    num_heads: Count
    mlp_dim: Count
    pool: Literal["cls", "gap"]
    position: Literal["learned", "sincos2d"]
    dropout: Fraction
    drop_path: Annotated[float, Field(ge=0.0, le=0.999)]  # 1 in float32 would divide by 0
    qk_norm: bool
    registers: Annotated[int, Field(ge=0, le=1000)]
    gelu: Gelu
    norm_eps: Annotated[Number, Field(ge=1e-12, le=0.01)]

    @model_validator(mode="after")
    def _divisible(self) -> "ModelSettings":
        if self.hidden_size % self.num_heads:
            raise ValueError(
                f"model.hidden_size is {self.hidden_size}, which model.num_heads = "
                f"{self.num_heads} does not divide; choose a multiple of {self.num_heads}"
            )
        if self.qk_norm and self.hidden_size == self.num_heads:
            raise ValueError(
                f"model.num_heads is {self.num_heads}; model.qk_norm = true needs fewer heads than "
                f"model.hidden_size = {self.hidden_size}, since a single number has no deviation"
            )
        if self.position == "sincos2d" and self.hidden_size % 4:
            raise ValueError(
                f"model.hidden_size is {self.hidden_size}; model.position = sincos2d needs a "
                "multiple of 4 (sine and cosine, for rows and for columns)"
            )
        return self

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts of the model that have parameters, by their names in a weights file."""
        return (
            "patches",
            *(["class_token"] if self.pool == "cls" else []),
            *(["registers"] if self.registers else []),
            *(["position"] if self.position == "learned" else []),
            *(f"block_{index}" for index in range(self.num_layers)),
            "norm",
            "head",
        )

    def grid(self, image_shape: ImageShape) -> tuple[int, int]:
        """Return the rows and columns of patches in an image of this shape."""
        height, width, _ = image_shape
        return height // self.patch_size, width // self.patch_size

    def num_patches(self, image_shape: ImageShape) -> int:
        """Return N, the number of patches in an image of this shape."""
        return math.prod(self.grid(image_shape))

    def num_tokens(self, image_shape: ImageShape) -> int:
        """Return T, the number of tokens: patches, registers, and with pool "cls" a class token."""
        return self.num_patches(image_shape) + self.registers + (self.pool == "cls")


class AugmentSettings(Settings):
    """Random augmentation of training images; 0 or false turns an augmentation off."""

    shift: Annotated[int, Field(ge=0, le=1000)]
    flip: bool
    rotate: Annotated[float, Field(ge=0.0, le=180.0)]
    scale: Fraction
    elastic: Annotated[float, Field(ge=0.0, le=1000.0)]
    trivial: bool
    erase: Annotated[float, Field(ge=0.0, le=1.0)]
    mixup: Annotated[float, Field(ge=0.0, le=1000.0)]
    cutmix: Annotated[float, Field(ge=0.0, le=1000.0)]

    @property
    def resamples(self) -> bool:
        """Whether pixels are interpolated, and not only moved by whole pixels."""
        return bool(self.rotate or self.scale or self.elastic or self.trivial)

    @property
    def mixes(self) -> bool:
        """Whether images are mixed with other images of their batch."""
        return bool(self.mixup or self.cutmix)


class TrainSettings(Settings):
    """The training recipe; 0 turns an optional part such as grad_clip, sam_rho or ema_decay off."""

    init_from: str
    freeze: list[str]
    layer_decay: Annotated[Number, Field(gt=0.0, le=1.0)]
    epochs: Count
    batch_size: Count
    optimizer: Literal["adamw", "muon"]
    learning_rate: Annotated[Number, Field(gt=0.0, le=1e30)]
    warmup_epochs: Annotated[Number, Field(ge=0.0)]
    weight_decay: Annotated[Number, Field(ge=0.0)]
    label_smoothing: Fraction
    class_weights: Literal["none", "balanced"]
    grad_clip: Annotated[Number, Field(ge=0.0)]
    sam_rho: Annotated[Number, Field(ge=0.0)]
    ema_decay: Fraction
    validation_fraction: OpenFraction
    augment: AugmentSettings
    snapshot_epochs: list[Count]
    checkpoint_steps: Annotated[int, Field(ge=0, le=1_000_000_000)]
    precision: Precision
    scan_layers: bool
    remat: bool

    @property
    def starts_from_file(self) -> bool:
        """Whether the first weights are read from the file `init_from`, instead of drawn."""
        return self.init_from != RANDOM_WEIGHTS

    @field_validator("init_from")
    @classmethod
    def _is_plain_path(cls, init_from: str) -> str:
        # DVC watches the file, and would look for a folder "~".
        if not is_plain_text(init_from) or init_from.startswith("~"):
            raise ValueError(
                f"train.init_from is {shorten(init_from)}; allowed: {RANDOM_WEIGHTS}, or the path "
                "of a weights file from / or from the project's folder"
            )
        return init_from

    @model_validator(mode="after")
    def _fit(self) -> "TrainSettings":
        if self.warmup_epochs >= self.epochs:
            raise ValueError(
                f"train.warmup_epochs is {self.warmup_epochs:g}, train.epochs is {self.epochs}: "
                "the warm-up must be shorter than the training"
            )
        if self.batch_size == 1 and self.augment.mixes:
            raise ValueError(
                "train.batch_size is 1; train.augment.mixup and cutmix mix the images of a batch, "
                "so they need at least 2"
            )
        rising = all(a < b for a, b in itertools.pairwise(self.snapshot_epochs))
        if len(self.snapshot_epochs) > 20 or not rising:
            raise ValueError(
                f"train.snapshot_epochs is {shorten(self.snapshot_epochs)}; allowed: at most 20 "
                "rising numbers"
            )
        return self


class EvaluateSettings(Settings):
    """How test images are batched, and on what share of them more is measured.

    `faithfulness_share` is that of attention maps, `corruption_share` that of `corruptions`.
    """

    batch_size: Count
    faithfulness_share: Annotated[float, Field(gt=0.0, le=1.0)]
    corruption_share: Annotated[float, Field(gt=0.0, le=1.0)]
    corruptions: list[CorruptionName]

    @field_validator("corruptions")
    @classmethod
    def _some_each_once(cls, names: list[CorruptionName]) -> list[CorruptionName]:
        if not names or len(set(names)) < len(names):
            raise ValueError(
                f"evaluate.corruptions is {shorten(names)}; allowed, at least one, each once: "
                f"{', '.join(get_args(CorruptionName))}"
            )
        return names

    def num_faithfulness_images(self, num_test_images: int) -> int:
        """Return the number of test images on which attention maps are measured, at least 1."""
        return max(1, round(self.faithfulness_share * num_test_images))

    def num_corrupted_images(self, num_test_images: int) -> int:
        """Return the number of test images that are corrupted, at least 1."""
        return max(1, round(self.corruption_share * num_test_images))


class AttentionSettings(Settings):
    """Which test images are drawn, and how rollout fuses heads and discards small weights."""

    num_images: Annotated[int, Field(ge=1, le=100)]
    num_wrong: Annotated[int, Field(ge=0, le=100)]
    images: list[Annotated[int, Field(ge=0)]]
    head_fusion: HeadFusion
    discard_ratio: Fraction

    @model_validator(mode="after")
    def _wrong_fit(self) -> "AttentionSettings":
        if self.num_wrong > self.num_images:
            raise ValueError(
                f"attention.num_wrong is {self.num_wrong}, more than attention.num_images = "
                f"{self.num_images}; it is the part of them that the model gets wrong"
            )
        if len(self.images) > 100 or len(set(self.images)) < len(self.images):
            raise ValueError(
                f"attention.images is {shorten(self.images)}; allowed: at most 100 indices, each "
                "once"
            )
        return self


class Config(Settings):
    """All settings of params.yaml."""

    seed: Seed
    platform: Platform
    data: DataSettings
    model: ModelSettings
    train: TrainSettings
    evaluate: EvaluateSettings
    attention: AttentionSettings

    @model_validator(mode="after")
    def _frozen_parts_fit(self) -> "Config":
        parts, frozen = self.model.parts, self.train.freeze
        for number, name in enumerate(frozen):
            if name not in parts or name in frozen[:number]:
                blocks = f"block_0 to block_{self.model.num_layers - 1}"
                others = ", ".join(part for part in parts if not part.startswith("block_"))
                raise ValueError(
                    f"train.freeze holds {shorten(name)}{' twice' if name in parts else ''}; "
                    f"allowed, each once: {others}, {blocks}"
                )
        if set(frozen) == set(parts):
            raise ValueError("train.freeze holds all parts of the model; leave one out to train")
        if "head" in frozen and not self.train.starts_from_file:
            raise ValueError(
                "train.freeze holds 'head', whose first weights are zeros, so that nothing would "
                "be learned; leave it out, or name a weights file in train.init_from"
            )
        return self


NUMBER_TAGS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
PLAIN_NUMBER = re.compile(
    r"[-+]?(?:(?:0|[1-9]\d*)(?:\.\d*)?(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?|\.(?:inf|nan))",
    re.IGNORECASE,
)


class _Loader(yaml.SafeLoader):
    """A SafeLoader that refuses duplicate keys, aliases and tags, and reads 1e-3 as DVC does."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        # Aliases let a small file unfold into a huge tree, tags ask for other types than the
        # text has; no settings need them.
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent) or getattr(event, "tag", None):
            what = "aliases" if isinstance(event, yaml.AliasEvent) else "tags"
            raise yaml.MarkedYAMLError(
                problem=f"{what} are not allowed", problem_mark=event.start_mark
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key_node, _ in node.value:
            # No text are 1, yes, ~ and the merge key <<, which would hide a key that stands twice.
            key = key_node.value if key_node.tag == "tag:yaml.org,2002:str" else ""
            if not (key and key.isprintable()):
                raise yaml.MarkedYAMLError(
                    problem="a key must be a plain word", problem_mark=key_node.start_mark
                )
            if key in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"key {shorten(key)} stands twice", problem_mark=key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> Any:
        # YAML 1.1 (PyYAML) reads 010 as 8 and 1:30 as 90, YAML 1.2 (DVC) as 10 and as a text.
        if node.tag in NUMBER_TAGS and not PLAIN_NUMBER.fullmatch(node.value):
            raise yaml.MarkedYAMLError(
                problem=f"{shorten(node.value)} is not a plain decimal number, such as 42 or 0.5",
                problem_mark=node.start_mark,
            )
        return super().construct_scalar(node)


# YAML 1.1 (PyYAML) wants a dot and a sign in 1.0e-3; YAML 1.2 (DVC) takes 1e-3 too.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+[eE][-+]?\d+\Z"), list("-+0123456789")
)


def load_config(path: str | Path = "params.yaml") -> Config:
    """Read and validate all settings.

    Raises:
      UserError: the file is missing, too large, not YAML, or holds a key that is
        unknown, missing, twice there, of a wrong type or out of range.
    """
    tree = read_tree(Path(path))
    if not isinstance(tree, dict):
        found = "empty" if tree is None else f"a {type(tree).__name__}"
        raise UserError(
            f"{path} is {found}, not settings; it must hold the sections "
            f"{', '.join(Config.model_fields)} (recipes/default.yaml is the default)"
        )
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise UserError(f"{path}: {_describe(error)}") from None


def read_tree(path: Path) -> Any:
    """Return the content of a YAML file, without any check of its keys.

    Raises:
      UserError: the file is missing, too large, not YAML, or holds a key twice, one that is no
        text, or an alias.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except PermissionError as error:
        raise unreadable(path, error) from None
    except OSError as error:
        raise UserError(
            f"{path} could not be read: {error.strerror}; start from the project's folder "
            f"(recipes/default.yaml is the default)"
        ) from None
    if len(raw) > MAX_BYTES:
        raise UserError(f"{path} has more than {MAX_BYTES:,} bytes; settings need far less")
    try:
        loader = _Loader(raw.decode("utf-8"))
        return loader.get_single_data()
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text: byte {error.start} is invalid") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "somewhere"
        problem = in_one_line(error.problem or "malformed")
        raise UserError(f"{path} is not valid YAML at {where}: {problem}") from None
    except RecursionError:
        raise UserError(f"{path} is nested far too deep; settings need three levels") from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise UserError(f"{path} is not valid YAML: {in_one_line(error)}") from None


def _describe(error: ValidationError) -> str:
    """Describe the first problem of the settings in one line that names the key."""
    problems = error.errors(include_url=False)
    # A misspelt key is missing as well; the spelling is what helps.
    unknown = (p for p in problems if p["type"] == "extra_forbidden")
    problem = next(unknown, problems[0])
    key = ".".join(str(part) for part in problem["loc"])
    match problem["type"]:
        case "extra_forbidden":
            return _unknown_key(problem["loc"])
        case "missing":
            return f"{key} is missing; add it (recipes/default.yaml has the default)"
        case "model_type":
            keys = ", ".join(_section(problem["loc"]).model_fields)
            return f"{key} is {shorten(problem['input'])}; allowed: a section with the keys {keys}"
        case "value_error":
            return str(problem["ctx"]["error"])
        case "list_type" | "too_short" | "too_long":
            wanted = "[height, width], or null" if key == "data.image_size" else "a list: [a, b]"
            return f"{key} is {shorten(problem['input'])}; allowed: {wanted}"
        case _:
            wanted = problem["msg"].removeprefix("Input should be ")
            return f"{key} is {shorten(problem['input'])}; allowed: {wanted}"


def _unknown_key(location: tuple[int | str, ...]) -> str:
    *sections, last = (str(part) for part in location)
    section = _section(sections)
    near = difflib.get_close_matches(last, section.model_fields, n=1, cutoff=0.6)
    prefix = "".join(f"{name}." for name in sections)
    hint = f"did you mean {prefix}{near[0]}? Allowed" if near else "allowed"
    return (
        f"{prefix}{shorten(last).strip(chr(39))} is not a setting; {hint}: "
        f"{', '.join(section.model_fields)}"
    )


def _section(location: Iterable[int | str]) -> Any:
    section: Any = Config
    for name in location:
        section = section.model_fields[name].annotation
    return section
