"""Checks whether a training can start from a weights file; needs no JAX, and so takes no time."""

from pathlib import Path

from vit_hk.data.dataset import Dataset
from vit_hk.errors import UserError, find_file_problem, in_one_line, shorten, unreadable
from vit_hk.params import Config
from vit_hk.weights_metadata import WeightsInfo, read_metadata

REMEDY = "name another file in params.yaml: train.init_from"
# Settings of the model that change how it is trained, and neither its parameters nor its outputs.
FREE_SETTINGS = {"dropout", "drop_path"}


def check_starting_point(config: Config, dataset: Dataset) -> None:
    """Check the file `train.init_from`, where it is one, by its metadata.

    Raises:
      UserError: the file is missing or damaged, or holds another model; see `check_can_start`.
    """
    if not config.train.starts_from_file:
        return
    path = find_file(config)
    try:
        info = read_metadata(path)
    except PermissionError as error:
        raise unreadable(path, error) from None
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} is not a weights file of this project ({in_one_line(error)}); {REMEDY}; those "
            "of other libraries are read with: python -m vit_hk import"
        ) from None
    check_can_start(path, info, config, dataset)


def find_file(config: Config) -> Path:
    """Return the path of the weights file to start from.

    Raises:
      UserError: there is no such file.
    """
    path = Path(config.train.init_from)
    if problem := find_file_problem(path):
        raise UserError(f"params.yaml: train.init_from is {path}, which is {problem}; {REMEDY}")
    return path


def check_can_start(path: Path, info: WeightsInfo, config: Config, dataset: Dataset) -> None:
    """Check that a training with these settings can start from these weights.

    Other images, another image size and other classes are adapted to; see `initial_weights`.

    Raises:
      UserError: the architecture differs, the number of channels cannot be adapted, or a head that
        is made anew is to be frozen.
    """
    there, here = info.model.model_dump(), config.model.model_dump()
    differences = [
        f"model.{key} {shorten(there[key])} there, {shorten(here[key])} here"
        for key in here
        if there[key] != here[key] and key not in FREE_SETTINGS
    ]
    if differences:
        raise UserError(
            f"{path} holds another model than params.yaml describes: {'; '.join(differences)}; "
            f"change these settings, or {REMEDY}"
        )
    channels, new_channels = info.image_shape[2], dataset.image_shape[2]
    if channels != new_channels and 1 not in (channels, new_channels):
        raise UserError(
            f"{path} was trained on images of {channels} channels, those of {dataset.name} have "
            f"{new_channels}; allowed: the same number, or 1 in one of both; {REMEDY}"
        )
    if "head" in config.train.freeze and not has_same_classes(info, dataset):
        raise UserError(
            f"params.yaml: train.freeze holds 'head', but {path} was trained on other classes than "
            f"those of {dataset.name}, so its head is made anew; leave head out"
        )


def has_same_classes(info: WeightsInfo, dataset: Dataset) -> bool:
    """Return whether weights and data set have the same class names in the same order."""
    return tuple(info.class_names) == dataset.class_names


def describe_start(path: Path, info: WeightsInfo, dataset: Dataset) -> str:
    """Return a line that names the weights which a training starts from, and what is adapted."""
    grid, new_grid = info.grid, info.model.grid(dataset.image_shape)
    channels, new_channels = info.image_shape[2], dataset.image_shape[2]
    changes = ["head kept" if has_same_classes(info, dataset) else "new head, for other classes"]
    if grid != new_grid and info.model.position == "learned":
        old, new = (f"{rows} x {columns}" for rows, columns in (grid, new_grid))
        changes.append(f"positions resampled from {old} to {new} patches")
    if channels != new_channels:
        changes.append(f"filters of the patches adapted from {channels} to {new_channels} channels")
    origin = info.source if info.is_imported else f"trained on {info.data}"
    return f"starting from {path}, {origin}: {', '.join(changes)}"
