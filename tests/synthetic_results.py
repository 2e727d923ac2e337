"""Synthetic results of the other stages, for any shape of model and data, without training."""

import io
import json
import shutil
from pathlib import Path
from typing import Any

import haiku as hk
import jax
import numpy as np
import pandas as pd
import yaml
from PIL import Image

from stages import paths
from vit_hk.calibration import Calibration
from vit_hk.data.corruptions import MAX_SEVERITY
from vit_hk.data.dataset import Dataset, save_dataset
from vit_hk.explain.attention_moments import AttentionMoments
from vit_hk.explain.faithfulness import changed_patches
from vit_hk.explain.methods import METHODS
from vit_hk.figures.faithfulness import STYLES
from vit_hk.model.vit import make_model, parameter_shapes
from vit_hk.params import ModelSettings
from vit_hk.report.captions import GALLERY
from vit_hk.tables import per_class_table
from vit_hk.weights import save_weights
from vit_hk.weights_metadata import WeightsInfo

PROJECT = Path(__file__).parents[1]
NUM_TEST = 60
NUM_SNAPSHOTS = 2  # epochs, and images


def noise_png(size: int = 8) -> bytes:
    """Return a PNG of noise, which does not compress."""
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


def write_results(
    folder: Path,
    settings: dict[str, Any],
    *,
    image_shape: tuple[int, int, int] = (8, 12, 1),
    class_names: tuple[str, ...] = ("left", "middle", "right"),
    source: str = "made for a test",
    num_test: int = NUM_TEST,
    wrong: float = 0.2,
    num_images: int = 4,
    figure: bytes | None = None,
) -> Path:
    """Write every file that the stage `report` reads, in the format of the stage that writes it.

    Args:
      folder: the project folder.
      settings: a valid tree of settings.
      image_shape: height, width, channels.
      class_names: of the data set.
      source: of the data set.
      num_test: number of test images.
      wrong: share of the test images that are predicted as the next class.
      num_images: number of images in attention.npz; the first one is a mistake.
      figure: the PNG that stands for each figure of the stage `attention`.

    Returns:
      The project folder.
    """
    for path in (paths.WEIGHTS, paths.DEFAULT_PARAMS, paths.ATTENTION_ARRAYS):
        (folder / path.parent).mkdir(parents=True)
    (folder / "params.yaml").write_text(yaml.safe_dump(settings, sort_keys=False), "utf-8")
    shutil.copy(PROJECT / paths.DEFAULT_PARAMS, folder / paths.DEFAULT_PARAMS)
    dataset = make_dataset(image_shape, class_names, source, num_test)
    save_dataset(dataset, folder / paths.DATASET)
    labels = dataset.y_test
    # Every k-th image is predicted as the next class.
    is_wrong = np.arange(num_test) % round(1 / wrong) == 0 if wrong else np.zeros(num_test, bool)
    predictions = np.where(is_wrong, (labels + 1) % len(class_names), labels)
    model = ModelSettings(**settings["model"])
    write_weights(folder, model, dataset)
    write_training(folder, model, dataset, settings["train"]["epochs"])
    write_evaluation(folder, model, dataset, predictions, settings["evaluate"]["corruptions"])
    write_attention(folder, model, dataset, predictions[:num_images])
    write_mean_attention(folder, model, dataset)
    for known in GALLERY:
        if known.stage == "attention":
            (folder / paths.ATTENTION / known.name).write_bytes(figure or noise_png())
    return folder


def write_weights(folder: Path, model: ModelSettings, dataset: Dataset) -> None:
    channels = dataset.image_shape[2]
    info = WeightsInfo(
        model=model,
        data=dataset.name,
        source=dataset.source,
        class_names=list(dataset.class_names),
        image_shape=list(dataset.image_shape),
        preparation=dataset.preparation,
        mean=[0.5] * channels,
        std=[0.25] * channels,
        seed=0,
        validation_fraction=0.25,
    )
    params = random_params(model, dataset.image_shape, dataset.num_classes)
    width = model.hidden_size
    calibration = Calibration(
        temperature=np.float32(1.25),
        class_means=np.zeros((dataset.num_classes, width), np.float32),
        whitening=np.eye(width, dtype=np.float32),
        threshold=np.float32(9.0),
        border_range=np.float32([0.0, 0.1]),  # of digits in white on black
    )
    save_weights(folder / paths.WEIGHTS, params, info, calibration)


def random_params(
    settings: ModelSettings, image_shape: tuple[int, int, int], num_classes: int
) -> hk.Params:
    """Return parameters of which none is zero, with logits and scores of the size of trained ones.

    Initial parameters would hide mistakes: all of their biases and the head are zero.
    """
    random = np.random.default_rng(5)

    def draw(path: tuple, shape: jax.ShapeDtypeStruct) -> np.ndarray:
        noise = random.standard_normal(shape.shape).astype(np.float32)
        match path[-1].key:
            case "w":
                gain = 1.6 if path[0].key == "vit/head" else 0.8
                return gain * noise / np.sqrt(shape.shape[0], dtype=np.float32)
            case "scale":
                return 1 + 0.2 * noise
            case _:
                return 0.3 * noise

    shapes = parameter_shapes(make_model(settings, num_classes), image_shape)
    return jax.tree_util.tree_map_with_path(draw, shapes)


def write_training(folder: Path, model: ModelSettings, dataset: Dataset, epochs: int) -> None:
    pd.DataFrame(
        {
            "epoch": np.arange(1, epochs + 1),
            "train_loss": np.geomspace(1.5, 0.5, epochs),
            "validation_loss": np.geomspace(1.25, 0.375, epochs),
            "validation_accuracy": np.linspace(0.5, 0.75, epochs),
            "learning_rate": np.linspace(0.1, 0.0, epochs),
        }
    ).to_csv(folder / paths.HISTORY, index=False)
    random = np.random.default_rng(3)
    count = NUM_SNAPSHOTS
    patches = model.num_patches(dataset.image_shape)
    shape = count, model.num_layers, count, model.num_heads, patches
    probabilities = random.dirichlet(np.ones(dataset.num_classes), (count, count))
    with (folder / paths.SNAPSHOTS).open("wb") as file:
        np.savez(
            file,
            attention=random.random(shape, np.float32) / patches,
            probabilities=probabilities.astype(np.float32),
            epochs=np.arange(1, count + 1),
            images=dataset.x_train[:count],
            labels=dataset.y_train[:count],
        )


def confidences(dataset: Dataset) -> np.ndarray:
    """Return the probability of the predicted class of each test image."""
    return np.linspace(0.5, 1, len(dataset.y_test))


def write_evaluation(
    folder: Path,
    model: ModelSettings,
    dataset: Dataset,
    predictions: np.ndarray,
    corruptions: list[str],
) -> None:
    names, labels = np.array(dataset.class_names), dataset.y_test
    accuracies = np.linspace(0.8, 0.6, len(corruptions))  # means over the severities
    metrics = {
        "data": dataset.name,
        "source": dataset.source,
        "test": {
            "accuracy": float((predictions == labels).mean()),
            "balanced_accuracy": 0.625,
            "macro_f1": 0.6125,
            "error_count": int((predictions != labels).sum()),
            "loss": 0.25,
            "calibration_error": 0.0125,
            "examples": len(labels),
        },
        "temperature_scaled": {"temperature": 1.25, "loss": 0.2, "calibration_error": 0.005},
        "validation": {"accuracy": 0.75, "loss": 0.5, "examples": 1},
        "corruptions": {"mean": 0.7, **dict(zip(corruptions, accuracies.tolist(), strict=True))},
        "faithfulness": {"rollout": 0.4784, "relevance": 0.2142, "random": -0.02},
    }
    (folder / paths.METRICS).write_text(json.dumps(metrics), "utf-8")
    scores = per_class_table(labels, predictions, list(names))
    scores.to_csv(folder / paths.PER_CLASS, index=False)
    pd.DataFrame(
        {
            "index": np.arange(len(labels)),
            "actual": names[labels],
            "predicted": names[predictions],
            "probability": confidences(dataset),
        }
    ).to_csv(folder / paths.PREDICTIONS, index=False, float_format="%.6f")
    patches = model.num_patches(dataset.image_shape)
    shares = changed_patches(patches) / patches
    pd.DataFrame(
        {
            "method": np.repeat(list(STYLES), len(shares)),
            "share": np.tile(shares, len(STYLES)),
            "deletion": np.tile(0.9 - 0.8 * shares, len(STYLES)),
            "insertion": np.tile(0.1 + 0.8 * shares, len(STYLES)),
            "deletion_error": 0.01,
            "insertion_error": 0.02,
            "score_error": 0.015,
        }
    ).to_csv(folder / paths.FAITHFULNESS, index=False)
    severities = np.arange(MAX_SEVERITY + 1)
    pd.DataFrame(
        {
            "corruption": np.repeat(corruptions, len(severities)),
            "severity": np.tile(severities, len(corruptions)),
            "measure": "distance",
            "strength": np.tile(severities / 2, len(corruptions)),
            "unit": "px",
            "accuracy": (1 - np.outer((1 - accuracies) / 2.5, severities)).ravel().round(6),
            "standard_error": 0.01,
            "mean_error": 0.015,
            "examples": 30,
        }
    ).to_csv(folder / paths.CORRUPTIONS, index=False)


def write_attention(
    folder: Path, model: ModelSettings, dataset: Dataset, predictions: np.ndarray
) -> None:
    """Write the attention for the first test images, one for each of `predictions`."""
    random = np.random.default_rng(2)
    indices = np.arange(len(predictions))
    patches = model.num_patches(dataset.image_shape)
    tokens = model.num_tokens(dataset.image_shape)
    shape = model.num_layers, len(indices), model.num_heads, tokens, tokens
    attention = random.random(shape, np.float32) ** 4
    attention /= attention.sum(axis=-1, keepdims=True)
    # Of two classes the predicted one is a little more probable, also for the first image.
    confidence = np.maximum(confidences(dataset)[indices], 0.5005)
    others = (1 - confidence) / (dataset.num_classes - 1)
    probabilities = np.repeat(others[:, np.newaxis], dataset.num_classes, axis=1)
    probabilities[indices, predictions] = confidence
    maps = random.random((len(METHODS), len(indices), patches)).astype(np.float32)
    maps_true = maps.copy()
    labels = dataset.y_test[indices]
    wrong = labels != predictions
    # Only the maps of the last two methods depend on the class.
    maps_true[2:, wrong] = random.random((len(METHODS) - 2, wrong.sum(), patches))
    with (folder / paths.ATTENTION_ARRAYS).open("wb") as file:
        np.savez(
            file,
            attention=attention,
            indices=indices,
            images=dataset.x_test[indices],
            labels=labels,
            probabilities=probabilities.astype(np.float32),
            methods=np.array(list(METHODS)),
            maps=maps,
            maps_true=maps_true,
        )


def write_mean_attention(folder: Path, model: ModelSettings, dataset: Dataset) -> None:
    """Write means of which those of the first head are the same on all images."""
    random = np.random.default_rng(4)
    patches = model.num_patches(dataset.image_shape)
    mean = random.dirichlet(np.ones(patches), (model.num_layers, model.num_heads))
    variance = 0.5 * mean**2
    variance[0, 0] = 0
    AttentionMoments(
        mean=mean.astype(np.float32),
        mean_square=(mean**2 + variance).astype(np.float32),
        count=np.array(len(dataset.x_test)),
    ).save(folder / paths.MEAN_ATTENTION)
