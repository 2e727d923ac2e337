"""The trained weights, read as NumPy arrays without JAX."""

import contextlib
import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from vit_hk.data.dataset import Dataset
from vit_hk.params import ModelSettings
from vit_hk.report.reading import user_error_if_damaged
from vit_hk.weights_metadata import (
    CALIBRATION_PREFIX,
    WeightsInfo,
    check_weights_match,
    parse_metadata,
    weights_digest,
)

BORDER_RANGE = f"{CALIBRATION_PREFIX}border_range"


@dataclasses.dataclass(frozen=True)
class WeightsFile:
    """A weights file of which only the header has been read.

    Attributes:
      path: the file.
      info: its metadata.
      shapes: shape of each parameter, by name, in alphabetical order.
    """

    path: Path
    info: WeightsInfo
    shapes: dict[str, list[int]]

    @property
    def num_parameters(self) -> int:
        """The number of parameters of the model."""
        return sum(math.prod(shape) for shape in self.shapes.values())

    @property
    def digest(self) -> str:
        """The first 12 digits of the file's SHA-256, which tell two runs apart."""
        return weights_digest(self.path)

    def read_tensors(self) -> list[np.ndarray]:
        """Return the tensors, float32, in the order of `shapes`.

        Raises:
          UserError: the file is damaged.
        """
        with _opened(self.path) as file:
            return [file.get_tensor(name) for name in self.shapes]

    def read_border_range(self) -> list[float] | None:
        """Return the usual brightness of the border of training images; None of imported weights.

        Raises:
          UserError: the file is damaged.
        """
        with _opened(self.path) as file:
            has_range = BORDER_RANGE in file.keys()  # noqa: SIM118
            return file.get_tensor(BORDER_RANGE).tolist() if has_range else None


def read_weights_file(path: Path, settings: ModelSettings, dataset: Dataset) -> WeightsFile:
    """Read the header of the weights file, and check that it belongs to this run.

    Raises:
      UserError: the file is missing or damaged, or the weights were trained with other settings
        or data, so that a page about them would be wrong.
    """
    with _opened(path) as file:
        info = parse_metadata(file.metadata())
        names = sorted(n for n in file.keys() if not n.startswith(CALIBRATION_PREFIX))  # noqa: SIM118
        shapes = {name: file.get_slice(name).get_shape() for name in names}
    check_weights_match(path, info, settings, dataset)
    return WeightsFile(path, info, shapes)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a weights file, an object of safetensors; a damaged one is a UserError."""
    with user_error_if_damaged(path, "train"):
        try:
            with safe_open(path, "np") as file:
                yield file
        except SafetensorError as error:
            raise ValueError(str(error)) from None
