"""What the weights file says of itself, read without JAX."""

import json
import math
from pathlib import Path

from safetensors import SafetensorError, safe_open

from vit_hk.dataset import Dataset
from vit_hk.errors import UserError
from vit_hk.params import ModelSettings
from vit_hk.report.reading import readable


def count_stored_parameters(path: Path, settings: ModelSettings, dataset: Dataset) -> int:
    """The number of learned numbers in the weights file.

    Raises:
      UserError: the file is missing or damaged, or the weights were trained with other settings
        or data, so that a page about them would be wrong.
    """
    with readable(path, "train"):
        try:
            with safe_open(path, "np") as file:
                info = json.loads((file.metadata() or {})["vit_hk"])
                shapes = [file.get_slice(name).get_shape() for name in file.keys()]  # noqa: SIM118
        except SafetensorError as error:
            raise ValueError(str(error)) from None
        found = info["model"], info["data"], info["source"]
    if found != (settings.model_dump(), dataset.name, dataset.source):
        raise UserError(
            f"{path} was trained with other settings or data than params.yaml and the data set "
            "name; train anew with: dvc repro"
        )
    return sum(math.prod(shape) for shape in shapes)
