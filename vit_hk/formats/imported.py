"""What is known about weights from elsewhere, as the metadata of a weights file."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import haiku as hk
from pydantic import ValidationError

from vit_hk.data.image_preparation import preparation_for
from vit_hk.errors import UserError, in_one_line, shorten
from vit_hk.params import MAX_IMAGE_SIDE, ModelSettings, Resize
from vit_hk.weights_metadata import WeightsInfo

# The pixels of Google's Vision Transformers lie from -1 to 1.
DEFAULT_MEAN = DEFAULT_STD = 0.5
MAX_NAMES_BYTES = 10_000_000
MAX_CHANNELS = 1000  # of an image


class Imported(NamedTuple):
    """A model from elsewhere."""

    params: hk.Params
    info: WeightsInfo


class Overrides(NamedTuple):
    """What a person knows better than the file; None leaves it to the file."""

    mean: list[float] | None = None
    std: list[float] | None = None
    class_names: list[str] | None = None


def model_settings(path: Path, **settings: Any) -> ModelSettings:
    """Return the architecture of weights from elsewhere.

    Raises:
      UserError: a size is out of range, or sizes do not fit each other.
    """
    plain = {"stem": "linear", "position": "learned", "dropout": 0.0, "drop_path": 0.0}
    try:
        return ModelSettings(**{**plain, **settings})
    except ValidationError as error:
        raise _refusal(path, error) from None


def describe(
    path: Path,
    library: str,
    model: ModelSettings,
    image_shape: Sequence[int],
    class_names: list[str],
    mean: list[float] | None,
    std: list[float] | None,
    resize: Resize,
    overrides: Overrides,
    *,
    fills_with_mean: bool = False,
) -> WeightsInfo:
    """Return the metadata of imported weights; what nobody knows about them is None.

    Args:
      path: the file, for error messages.
      library: where it comes from.
      model: the architecture.
      image_shape: height, width and channels.
      class_names: the names in the file, C of them.
      mean: of each channel as the file states it; None stands for 0.5.
      std: likewise.
      resize: how the library brings images to this shape.
      overrides: stated by a person.
      fills_with_mean: whether the library fills up with the mean colour, and not with black.

    Raises:
      UserError: a number or a name is invalid, or there is another number of them than needed.
    """
    height, width, channels = image_shape
    _check_image_shape(path, model.patch_size, image_shape)
    if len(class_names) < 2:
        raise UserError(
            f"{path} has a head of {len(class_names)} classes; take weights of a classifier, which "
            "has at least 2"
        )
    names = class_names if overrides.class_names is None else overrides.class_names
    if len(names) != len(class_names):
        raise UserError(
            f"--class-names has {len(names)} names, the model has {len(class_names)} classes; give "
            "the name of each class, one a line"
        )
    means = _for_channels(overrides.mean or mean or [DEFAULT_MEAN], channels)
    is_share = all(0 <= mean <= 1 for mean in means)  # others are on another scale
    pads = resize == "pad" and fills_with_mean and is_share
    background = round(255 * sum(means) / len(means)) if pads else 0
    deviations = _for_channels(overrides.std or std or [DEFAULT_STD], channels)
    for option, values in (("--mean", means), ("--std", deviations)):
        if len(values) != channels:
            raise UserError(
                f"{path}: the number of channels is {channels}, and {len(values)} numbers are "
                f"given for {option[2:]}; state one, or one for each channel, with {option}"
            )
    try:
        return WeightsInfo(
            model=model,
            data=None,
            source=f"imported from {library}",
            class_names=_distinct(names),
            image_shape=[height, width, channels],
            preparation=preparation_for(image_shape, resize, background),
            mean=means,
            std=deviations,
            seed=None,
            validation_fraction=None,
        )
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        if not problem["loc"]:  # values do not fit each other
            raise _refusal(path, error) from None
        field = str(problem["loc"][0])
        key = ".".join(str(part) for part in problem["loc"])
        found = f"{shorten(problem['input'])}; {in_one_line(problem['msg'])}"
        if field not in ("mean", "std"):
            raise UserError(f"{path}: {key} is {found}") from None
        scale = "of pixels from 0 to 1"
        if getattr(overrides, field):
            raise UserError(f"--{field} has {found}; state that {scale}") from None
        raise UserError(f"{path}: {key} is {found}; state that {scale} with --{field}") from None


def _refusal(path: Path, error: ValidationError) -> UserError:
    """Return the error of a file whose model this project does not have."""
    problem = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in problem["loc"])
    found = f"{key} is {shorten(problem['input'])}; " if key else ""
    reason = in_one_line(problem["msg"]).removeprefix("Value error, ")
    return UserError(f"{path}: {found}{reason}; such a model cannot be imported")


def _check_image_shape(path: Path, patch_size: int, image_shape: Sequence[int]) -> None:
    height, width, channels = image_shape
    if not (
        0 < height <= MAX_IMAGE_SIDE
        and 0 < width <= MAX_IMAGE_SIDE
        and 0 < channels <= MAX_CHANNELS
    ):
        raise UserError(
            f"{path}: images have {height} x {width} pixels and {channels} channels; allowed: "
            f"sides of 1 to {MAX_IMAGE_SIDE} and 1 to {MAX_CHANNELS} channels"
        )
    if height % patch_size or width % patch_size:
        raise UserError(
            f"{path}: images have {height} x {width} pixels, which patches of {patch_size} do "
            "not fill; this model needs whole patches"
        )


def read_class_names(path: Path) -> list[str]:
    """Read the names of classes from a text file, one a line, in the order of the logits.

    Raises:
      UserError: the file cannot be read, or a line is empty.
    """
    try:
        with path.open("rb") as file:
            text = file.read(MAX_NAMES_BYTES).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--class-names {path} could not be read: {in_one_line(error)}") from None
    names = [line.strip() for line in text.splitlines()]
    if not all(names):
        raise UserError(
            f"--class-names {path}: line {names.index('') + 1} is empty; allowed: a name a line"
        )
    return names


def _for_channels(values: list[float], channels: int) -> list[float]:
    """Repeat a single value for each channel; a wrong number of values is refused later."""
    return list(values) * channels if len(values) == 1 else list(values)


def _distinct(names: list[str]) -> list[str]:
    """Add the number of the class to names that several classes share, as two of ImageNet's do."""
    counts = Counter(names)
    distinct = [f"{name} ({n})" if counts[name] > 1 else name for n, name in enumerate(names)]
    # A name may look like another one with its number.
    return distinct if len(set(distinct)) == len(distinct) else _distinct(distinct)
