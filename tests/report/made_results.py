"""Results of the other stages, made up: any shape of model and data, without training."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from PIL import Image
from safetensors.numpy import save_file

from vit_hk.dataset import Dataset, save_dataset
from vit_hk.evaluation import per_class_table
from vit_hk.explain.methods import METHODS
from vit_hk.report.gallery import FIGURES

NUM_TEST = 60
NUM_LEARNED = 1234


def png(size: int = 8) -> bytes:
    """A picture of noise; noise does not get smaller in a PNG."""
    noise = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "PNG")
    return buffer.getvalue()


def make_dataset(
    image_shape: tuple[int, int, int], class_names: tuple[str, ...], source: str, num_test: int
) -> Dataset:
    random = np.random.default_rng(1)

    def images(count: int) -> np.ndarray:
        return random.integers(0, 256, (count, *image_shape), dtype=np.uint8)

    labels = np.arange(num_test, dtype=np.int32) % len(class_names)
    return Dataset(
        images(4), labels[:4], images(num_test), labels, "mnist", source, class_names,
    )  # fmt: skip


def make_results(
    folder: Path,
    settings: dict[str, Any],
    *,
    image_shape: tuple[int, int, int] = (8, 12, 1),
    class_names: tuple[str, ...] = ("left", "middle", "right"),
    source: str = "made for a test",
    num_test: int = NUM_TEST,
    wrong: float = 0.2,
    num_explained: int = 4,
    figure: bytes | None = None,
) -> Path:
    """Write all that the report reads into `folder`; each file has what its stage would write.

    Args:
      folder: of the project.
      settings: a valid tree.
      image_shape: height, width, channels.
      class_names: of the data set.
      source: of the data set.
      num_test: images.
      wrong: share of the test images that are taken for the next class.
      num_explained: images in attention.npz; the first one is a mistake.
      figure: the PNG that stands for each figure.
    """
    (folder / "params.yaml").parent.mkdir(parents=True, exist_ok=True)
    (folder / "params.yaml").write_text(yaml.safe_dump(settings, sort_keys=False), "utf-8")
    dataset = make_dataset(image_shape, class_names, source, num_test)
    save_dataset(dataset, folder / "data" / "dataset.npz")
    labels = dataset.y_test
    # Every k-th image is taken for the next class.
    mistaken = np.arange(num_test) % round(1 / wrong) == 0 if wrong else np.zeros(num_test, bool)
    predictions = np.where(mistaken, (labels + 1) % len(class_names), labels)
    write_weights(folder, settings, dataset)
    write_tables(folder, dataset, predictions)
    explained = np.arange(num_explained)
    write_attention(folder, settings["model"], dataset, explained, predictions[explained])
    for known in FIGURES:
        (folder / known.path).write_bytes(figure or png())
    return folder


def write_weights(folder: Path, settings: dict[str, Any], dataset: Dataset) -> None:
    info = {"model": settings["model"], "data": dataset.name, "source": dataset.source}
    (folder / "models").mkdir()
    tensors = {"a/w": np.zeros((NUM_LEARNED - 4, 1), np.float32), "a/b": np.zeros(4, np.float32)}
    save_file(tensors, folder / "models" / "vit.safetensors", {"vit_hk": json.dumps(info)})


def write_tables(folder: Path, dataset: Dataset, predictions: np.ndarray) -> None:
    names, labels = np.array(dataset.class_names), dataset.y_test
    right = float((predictions == labels).mean())
    metrics = {
        "data": dataset.name,
        "source": dataset.source,
        "test": {
            "accuracy": right,
            "error_count": int((predictions != labels).sum()),
            "loss": 0.25,
            "calibration_error": 0.0125,
            "examples": len(labels),
        },
        "validation": {"accuracy": 0.75, "loss": 0.5, "examples": 1},
        "faithfulness": {"rollout": 0.4784, "relevance": 0.2142, "random": -0.02},
    }
    results = folder / "results"
    (results / "attention").mkdir(parents=True)
    (results / "metrics.json").write_text(json.dumps(metrics), "utf-8")
    per_class_table(labels, predictions, list(names)).to_csv(results / "per_class.csv", index=False)
    pd.DataFrame({"actual": names[labels], "predicted": names[predictions]}).to_csv(
        results / "confusion.csv", index=False
    )
    pd.DataFrame(
        {
            "epoch": [1, 2, 3],
            "train_loss": [1.5, 0.75, 0.5],
            "validation_loss": [1.25, 0.625, 0.375],
            "validation_accuracy": [0.5, 0.625, 0.75],
            "learning_rate": [0.1, 0.05, 0.0],
        }
    ).to_csv(results / "history.csv", index=False)


def write_attention(
    folder: Path,
    model: dict[str, Any],
    dataset: Dataset,
    explained: np.ndarray,
    predictions: np.ndarray,
) -> None:
    random = np.random.default_rng(2)
    height, width, _ = dataset.image_shape
    patches = (height // model["patch_size"]) * (width // model["patch_size"])
    tokens = patches + model["registers"] + (model["pool"] == "cls")
    shape = model["num_layers"], len(explained), model["num_heads"], tokens, tokens
    attention = random.random(shape, np.float32) ** 4
    attention /= attention.sum(axis=-1, keepdims=True)
    probabilities = np.full((len(explained), dataset.num_classes), 0.2 / dataset.num_classes)
    probabilities[np.arange(len(explained)), predictions] += 0.8
    maps = random.random((len(METHODS), len(explained), patches)).astype(np.float32)
    maps_true = maps.copy()
    labels = dataset.y_test[explained]
    wrong = labels != predictions
    maps_true[2:, wrong] = random.random((len(METHODS) - 2, wrong.sum(), patches))
    with (folder / "results" / "attention" / "attention.npz").open("wb") as file:
        np.savez(
            file,
            attention=attention,
            indices=explained,
            images=dataset.x_test[explained],
            labels=labels,
            probabilities=probabilities.astype(np.float32),
            methods=np.array(METHODS),
            maps=maps,
            maps_true=maps_true,
        )
