"""The number of parameters in the weights file, read without JAX."""

import math
from pathlib import Path

from safetensors import SafetensorError, safe_open

from vit_hk.data.dataset import Dataset
from vit_hk.params import ModelSettings
from vit_hk.report.reading import user_error_if_damaged
from vit_hk.weights_metadata import CALIBRATION_PREFIX, check_weights_match, parse_metadata


def count_stored_parameters(path: Path, settings: ModelSettings, dataset: Dataset) -> int:
    """Return the number of parameters in the weights file.

    Raises:
      UserError: the file is missing or damaged, or the weights were trained with other settings
        or data, so that a page about them would be wrong.
    """
    with user_error_if_damaged(path, "train"):
        try:
            with safe_open(path, "np") as file:
                info = parse_metadata(file.metadata())
                names = [n for n in file.keys() if not n.startswith(CALIBRATION_PREFIX)]  # noqa: SIM118
                shapes = [file.get_slice(name).get_shape() for name in names]
        except SafetensorError as error:
            raise ValueError(str(error)) from None
    check_weights_match(path, info, settings, dataset)
    return sum(math.prod(shape) for shape in shapes)
