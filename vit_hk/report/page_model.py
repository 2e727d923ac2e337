"""The trained model as the page runs it: see model.js."""

import base64
import dataclasses
import math
from typing import Any

import numpy as np

from vit_hk.model.stem_layers import stem_layers
from vit_hk.params import AttentionSettings
from vit_hk.report.weights_file import WeightsFile

BYTES = 2  # of a float16 number
CENTRED_DATA = ("mnist", "kmnist")  # one figure, centred in each image
MAX_FLOAT16 = float(np.finfo(np.float16).max)


@dataclasses.dataclass(frozen=True)
class PageModel:
    """The trained model, and how the page prepares images for it and draws its rollout.

    Attributes:
      settings: the architecture, by the names of `ModelSettings`.
      stem: the convolutions of the stem, by the names of `StemLayer`.
      image_shape: height, width, channels.
      mean, std: of each channel, for pixels in [0, 1].
      tensors: name and number of elements of each tensor.
      weights: the elements of all tensors, little-endian float16 in base64.
      head_fusion, discard_ratio: of the rollout, as in `AttentionSettings`.
      background: grey level on which a person draws.
      border_range: usual brightness of the border of training images, from 0 to 1, by which image
        files are recognized as inverted; None if unknown.
      padding: grey level around and below image files, as in `Preparation`.
      resize: what happens to an image file of another shape, as in `Preparation`.
      is_centred: whether drawings are scaled and centred unless a person says otherwise.
    """

    settings: dict[str, Any]
    stem: list[dict[str, Any]]
    image_shape: list[int]
    mean: list[float]
    std: list[float]
    tensors: list[dict[str, Any]]
    weights: str
    head_fusion: str
    discard_ratio: float
    background: int
    border_range: list[float] | None
    padding: int
    resize: str
    is_centred: bool


def encoded_size(weights: WeightsFile) -> int:
    """Return how many characters the weights of a page model take."""
    return 4 * math.ceil(BYTES * weights.num_parameters / 3)


def make_page_model(weights: WeightsFile, attention: AttentionSettings) -> PageModel:
    """Encode the trained model for the page.

    Numbers beyond the range of float16 become its largest number; trained weights have none.

    Args:
      weights: the weights file.
      attention: the settings of the rollout.

    Raises:
      UserError: the file is damaged.
    """
    info = weights.info
    numbers = np.concatenate([tensor.ravel() for tensor in weights.read_tensors()])
    halves = np.clip(numbers, -MAX_FLOAT16, MAX_FLOAT16).astype("<f2")
    background = 255 if np.mean(info.mean) > 0.5 else 0
    layers = stem_layers(info.model.stem, info.model.patch_size, info.model.hidden_size)
    return PageModel(
        settings=info.model.model_dump(),
        stem=[layer._asdict() for layer in layers],
        image_shape=info.image_shape,
        mean=info.mean,
        std=info.std,
        tensors=[{"name": name, "size": math.prod(s)} for name, s in weights.shapes.items()],
        weights=base64.b64encode(halves.tobytes()).decode("ascii"),
        head_fusion=attention.head_fusion,
        discard_ratio=attention.discard_ratio,
        background=background,
        border_range=weights.read_border_range(),
        padding=info.preparation.background if info.preparation else background,
        resize=info.preparation.resize if info.preparation else "crop",
        is_centred=info.data in CENTRED_DATA and info.image_shape[2] == 1,
    )
