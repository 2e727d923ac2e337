"""The recipe of `make bench-99` (the default with the changes of recipe_99.yaml) and its data."""

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from vit_hk.data.dataset import Dataset, load_dataset
from vit_hk.errors import UserError, in_one_line
from vit_hk.params import Config, load_config

RECIPE = Path("benchmarks/recipe_99.yaml")
DEFAULT = Path("recipes/default.yaml")  # params.yaml may hold the settings of an experiment
DATASET = Path("data/dataset.npz")
TARGET = 0.99  # test accuracy


def load_recipe(seed: int) -> Config:
    """Load all settings of our recipe, with this seed.

    Raises:
      UserError: the file cannot be read, or holds an unknown key or an invalid value.
    """
    try:
        changes = yaml.safe_load(RECIPE.read_text("utf-8"))
        return Config.model_validate(
            _merge(load_config(DEFAULT).model_dump(), changes) | {"seed": seed}
        )
    except (OSError, yaml.YAMLError, TypeError, ValidationError) as error:
        raise UserError(f"{RECIPE}: {in_one_line(error)}") from None


def _merge(settings: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return the settings with the changes, section by section."""
    merged = dict(settings)
    for key, value in changes.items():
        merged[key] = _merge(settings[key], value) if isinstance(value, dict) else value
    return merged


def load_mnist(path: Path = DATASET) -> Dataset:
    """Load the full MNIST.

    Raises:
      UserError: the file is missing, or holds other data.
    """
    dataset = load_dataset(path)
    if dataset.name != "mnist" or len(dataset.x_train) != 60_000:
        raise UserError(
            f"{path} holds {len(dataset.x_train):,} training images of {dataset.name} "
            f"({dataset.source}), this benchmark needs the 60,000 of full MNIST; set data.name to "
            "mnist in params.yaml and make them with: dvc repro download"
        )
    return dataset
