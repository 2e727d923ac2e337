"""Weights of another architecture, version or data set: the message says what differs."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vit_hk.data.dataset import load_dataset, save_dataset
from vit_hk.params import ModelSettings
from vit_hk.weights import load_weights, save_weights

pytestmark = pytest.mark.parametrize("stage", ["evaluate", "attention"])


@pytest.fixture
def resave(copy, tiny_dataset, settings_of_tests) -> Callable[..., None]:
    """Return a function that changes the weights of the copy, or fields of their metadata."""

    def change(weights: dict[str, Any] | None = None, **metadata: Any) -> None:
        path = copy / "models" / "vit.safetensors"
        settings = ModelSettings(**settings_of_tests["model"])
        params, info, _ = load_weights(path, settings, tiny_dataset)
        save_weights(path, {**params, **(weights or {})}, info.model_copy(update=metadata))

    return change


def replace_data(copy: Path, **changes: Any) -> None:
    path = copy / "data" / "dataset.npz"
    save_dataset(dataclasses.replace(load_dataset(path), **changes), path)


@pytest.mark.parametrize(
    ("key", "value", "difference"),
    [
        ("model__pool", "cls", "model.pool 'gap' there, 'cls' here"),
        ("model__num_layers", 3, "model.num_layers 2 there, 3 here"),
        ("model__registers", 0, "model.registers 2 there, 0 here"),
    ],
)
def test_other_architecture(here, refused, copy, edit, stage, key, value, difference):
    edit(**{key: value})
    line = refused(here, stage, copy)
    assert "models/vit.safetensors was trained with other settings or data" in line
    assert difference in line
    assert line.endswith("train again with: dvc repro")


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"name": "kmnist"}, "data 'mnist' there, 'kmnist' here"),
        ({"source": "torchvision"}, "source 'NPZ file: made for a test' there, 'torchvision' here"),
        (
            {"class_names": ("a", "b", "c", "d")},
            "classes ['left', 'middle', 'right'] there, ['a', 'b', 'c', 'd'] here",
        ),
    ],
    ids=["name", "source", "classes"],
)
def test_other_data_set(here, refused, copy, stage, changes, difference):
    replace_data(copy, **changes)
    line = refused(here, stage, copy)
    assert difference in line
    assert line.endswith("train again with: dvc repro")


def test_other_image_size(here, refused, copy, stage):
    data = load_dataset(copy / "data" / "dataset.npz")
    replace_data(copy, x_train=data.x_train[:, :4], x_test=data.x_test[:, :4])
    assert "image shape [8, 12, 2] there, [4, 12, 2] here" in refused(here, stage, copy)


def test_other_version(here, refused, copy, resave, stage):
    resave(version=2)
    line = refused(here, stage, copy)
    assert "no valid vit_hk in its metadata: version 2 there, 1 here" in line
    assert line.endswith("make it again with: dvc repro --force --single-item train")


def test_tensor_of_another_shape(here, refused, copy, resave, stage):
    resave({"vit/head": {"w": np.zeros((8, 5), np.float32), "b": np.zeros(3, np.float32)}})
    line = refused(here, stage, copy)
    assert "tensor 'vit/head/w' is float32 [8, 5], its own settings require float32 [8, 3]" in line
    assert line.endswith("make it again with: dvc repro --force --single-item train")
