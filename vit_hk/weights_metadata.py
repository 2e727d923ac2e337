"""The metadata of a weights file: its model, data and classes. Needs no JAX."""

import hashlib
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field, ValidationError, model_validator
from safetensors import SafetensorError, safe_open

from vit_hk.data.dataset import Dataset
from vit_hk.data.normalization import Normalization
from vit_hk.errors import UserError, shorten
from vit_hk.params import (
    MAX_POSITION_ELEMENTS,
    Count,
    ModelSettings,
    OpenFraction,
    Preparation,
    Seed,
    Settings,
)

METADATA_KEY = "vit_hk"  # one key that holds JSON, since the order of several keys is not fixed
VERSION: Final = 1  # of the format of the metadata
CALIBRATION_PREFIX = "calibration/"  # of the names of tensors that are no parameters
MAX_HEADER = 2**23  # bytes; a thousand layers need 2 million
LFS_START = b"version https://git-lfs"


class WeightsInfo(Settings):
    """The model of trained weights, and the data that they were trained on.

    Attributes:
      version: version of this format.
      model: the architecture.
      data: name of the data set; None for imported weights.
      source: where its images come from; distinguishes the full set from a sample. For imported
        weights it says where they come from.
      class_names: a name for each class.
      image_shape: height, width, channels.
      preparation: how image files became such arrays; None where that is unknown.
      mean, std: of each channel, for pixels in [0, 1].
      seed, validation_fraction: the arguments of `stratified_split` that reproduce the validation
        images, which training did not use; None for imported weights.
      layout: the devices and microbatches of a training batch, which decide how numbers were
        rounded; empty for imported weights.
    """

    version: Literal[1] = VERSION
    model: ModelSettings
    data: str | None
    source: str
    class_names: list[str] = Field(min_length=2)
    image_shape: list[Count] = Field(min_length=3, max_length=3)
    preparation: Preparation | None
    mean: list[Annotated[float, Field(ge=0.0, le=1.0)]]
    std: list[Annotated[float, Field(gt=0.0, le=1.0)]]
    seed: Seed | None
    validation_fraction: OpenFraction | None
    layout: str = ""

    @model_validator(mode="after")
    def _one_for_each_channel(self) -> "WeightsInfo":
        if not len(self.mean) == len(self.std) == self.image_shape[2]:
            raise ValueError("mean and std must have a number for each channel")
        return self

    @model_validator(mode="after")
    def _has_positions_that_fit_in_memory(self) -> "WeightsInfo":
        if self.num_patches * self.model.hidden_size > MAX_POSITION_ELEMENTS:
            raise ValueError("image_shape has more patches than any model of this project")
        return self

    @model_validator(mode="after")
    def _known_together(self) -> "WeightsInfo":
        known = {x is not None for x in (self.data, self.seed, self.validation_fraction)}
        if len(known) > 1:
            raise ValueError("data, seed and validation_fraction must all be known, or none")
        return self

    @model_validator(mode="after")
    def _prepares_images_of_this_shape(self) -> "WeightsInfo":
        if self.preparation and list(self.preparation.image_shape) != self.image_shape:
            raise ValueError("preparation must make images of image_shape")
        return self

    @property
    def is_imported(self) -> bool:
        """Whether the weights come from elsewhere, so that their training data are unknown."""
        return self.data is None

    @property
    def normalization(self) -> Normalization:
        """The normalization of images that the model was trained with."""
        return Normalization(tuple(self.mean), tuple(self.std))

    @property
    def grid(self) -> tuple[int, int]:
        """The rows and columns of patches in an image."""
        return self.model.grid(self.image_shape)

    @property
    def num_patches(self) -> int:
        """The number of patches in an image, N."""
        return self.model.num_patches(self.image_shape)

    @property
    def num_tokens(self) -> int:
        """The number of tokens of an image, T."""
        return self.model.num_tokens(self.image_shape)


def read_metadata(path: Path) -> WeightsInfo:
    """Read the metadata of a weights file, and none of its tensors.

    Raises:
      OSError: the file cannot be read.
      ValueError: it is no safetensors file, or its metadata are missing or invalid.
      UserError: it is a pointer of Git LFS.
    """
    check_header(path)
    try:
        with safe_open(path, "np") as file:
            return parse_metadata(file.metadata())
    except SafetensorError as error:
        raise ValueError(str(error)) from None


def check_header(path: Path) -> None:
    """Check the length of the header of a safetensors file, which is read as a whole.

    Raises:
      OSError: the file cannot be read, or claims a header of more than MAX_HEADER bytes.
      UserError: it is a pointer to a file.
    """
    check_no_pointer(path)
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
    if length > MAX_HEADER:
        raise OSError(f"its header claims {length:,} bytes")


def check_header_length(length: int, path: Path) -> None:
    """Check the length of a header in bytes, before a file is written that `check_header` refuses.

    Raises:
      UserError: it is too long.
    """
    if length > MAX_HEADER:
        raise UserError(
            f"{path} is not written: the class names make its header {length:,} bytes long; "
            f"allowed: {MAX_HEADER:,}; use shorter or fewer names"
        )


def check_no_pointer(path: Path) -> None:
    """Refuse what a clone without Git LFS holds in the place of a large file.

    Raises:
      OSError: the file cannot be read.
      UserError: it is such a pointer.
    """
    with path.open("rb") as file:
        if file.read(len(LFS_START)) == LFS_START:
            raise UserError(f"{path} is a pointer of Git LFS; fetch the file with: git lfs pull")


def parse_metadata(metadata: dict[str, str] | None) -> WeightsInfo:
    """Parse the metadata of a weights file.

    Raises:
      ValueError: the metadata is missing or invalid; the message describes the first problem.
    """
    try:
        return WeightsInfo.model_validate_json((metadata or {}).get(METADATA_KEY, "{}"))
    except ValidationError as error:
        problem = f"no valid {METADATA_KEY} in its metadata: {_describe(error)}"
        raise ValueError(problem) from None


def check_weights_match(
    path: Path, info: WeightsInfo, settings: ModelSettings, dataset: Dataset
) -> None:
    """Check that weights were trained with these settings and this data set.

    Of imported weights neither data nor source is known, so the rest is compared.

    Raises:
      UserError: they were not; the message lists the differences.
    """
    found, expected = _facts_of_weights(info), _facts_of_run(settings, dataset)
    differences = [
        f"{key} {shorten(found[key], 200)} there, {shorten(expected[key], 200)} here"
        for key in expected
        if found[key] != expected[key] and found[key] is not None
    ]
    if differences and info.is_imported:
        raise UserError(
            f"{path} was {info.source}, and params.yaml and the data set name other settings: "
            f"{'; '.join(differences)}; change params.yaml or the data set"
        )
    if differences:
        raise UserError(
            f"{path} was trained with other settings or data than params.yaml and the data set "
            f"name: {'; '.join(differences)}; train again with: dvc repro"
        )


def _facts_of_weights(info: WeightsInfo) -> dict[str, Any]:
    """Return the settings and data of weights, by the names that an error message uses."""
    return {
        **{f"model.{key}": value for key, value in info.model.model_dump().items()},
        "data": info.data,
        "source": None if info.is_imported else info.source,
        "classes": info.class_names,
        "image shape": info.image_shape,
    }


def _facts_of_run(settings: ModelSettings, dataset: Dataset) -> dict[str, Any]:
    """Return the settings and data of this run, by the same names."""
    return {
        **{f"model.{key}": value for key, value in settings.model_dump().items()},
        "data": dataset.name,
        "source": dataset.source,
        "classes": list(dataset.class_names),
        "image shape": list(dataset.image_shape),
    }


def _describe(error: ValidationError) -> str:
    """Return a short description of the first problem of the metadata."""
    problem = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in problem["loc"])
    match problem["type"]:
        case "missing":
            return f"{key} is missing"
        case "extra_forbidden":
            return f"{shorten(key)} is unknown"
        case _ if key == "version":
            return f"version {shorten(problem['input'])} there, {VERSION} here"
        case _ if key:
            return f"{key} is {shorten(problem['input'])}"
        case _:
            return shorten(problem["msg"], 200)


def weights_digest(path: Path) -> str:
    """Return the first 12 digits of the SHA-256 of a weights file, which tell two runs apart."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]
