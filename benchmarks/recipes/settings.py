"""params.yaml with the changes of recipe_99.yaml, and the data that the recipes train on."""

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from vit_hk.dataset import Dataset, load_dataset
from vit_hk.errors import UserError, in_one_line
from vit_hk.params import Params, load_params

RECIPE = Path("benchmarks/recipe_99.yaml")
DATASET = Path("data/dataset.npz")
TARGET = 0.99  # of the test images


def load_recipe(seed: int) -> Params:
    """All settings of our recipe, with this seed.

    Raises:
      UserError: the file cannot be read, or holds a wrong key or value.
    """
    try:
        changes = yaml.safe_load(RECIPE.read_text("utf-8"))
        return Params.model_validate(_merged(load_params().model_dump(), changes) | {"seed": seed})
    except (OSError, yaml.YAMLError, TypeError, ValidationError) as error:
        raise UserError(f"{RECIPE}: {in_one_line(error)}") from None


def _merged(settings: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = dict(settings)
    for key, value in changes.items():
        merged[key] = _merged(settings[key], value) if isinstance(value, dict) else value
    return merged


def load_mnist() -> Dataset:
    """All of MNIST.

    Raises:
      UserError: data/dataset.npz is not there, or holds something else.
    """
    dataset = load_dataset(DATASET)
    if dataset.name != "mnist" or len(dataset.x_train) != 60_000:
        raise UserError(
            f"{DATASET} holds {len(dataset.x_train):,} training images of {dataset.name} "
            f"({dataset.source}); the target is one for full MNIST"
        )
    return dataset
