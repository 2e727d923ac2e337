"""What training and evaluation compute of all images takes a fraction of their memory."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from synthetic_results import random_params

from vit_hk.data.dataset import Dataset, load_dataset, save_dataset
from vit_hk.data.image_rows import ImageArray, ImageRows, mean_image
from vit_hk.data.inversion import border_range
from vit_hk.data.normalization import Normalization
from vit_hk.data.warnings import duplicate_warnings
from vit_hk.explain.faithfulness import faithfulness, reference_maps
from vit_hk.inference import make_predictor
from vit_hk.model.vit import make_model
from vit_hk.runtime.batch_layout import layout_for_inference, layout_for_training
from vit_hk.training import feed
from vit_hk.training.data import TrainingData, epoch_order, prepare_data

SHAPE = (32, 32, 3)
NUM_IMAGES = 16_384
SIZE = NUM_IMAGES * 32 * 32 * 3  # 48 MiB
MAX_PEAK = SIZE / 4


def peak_memory(compute: Callable[[], object]) -> int:
    """Return the most bytes that Python and NumPy held at a time, besides those that are mapped."""
    tracemalloc.start()
    try:
        compute()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (NUM_IMAGES, *SHAPE), dtype=np.uint8)


@pytest.fixture(scope="module")
def path(tmp_path_factory, images) -> Path:
    labels = np.arange(NUM_IMAGES, dtype=np.int32) % 4
    path = tmp_path_factory.mktemp("large") / "dataset.npz"
    few = np.arange(1000)
    save_dataset(
        Dataset(images, labels, images[few], labels[few], "large", "a test", tuple("abcd")), path
    )
    return path


@pytest.fixture(scope="module")
def dataset(path) -> Dataset:
    return load_dataset(path)


@pytest.fixture(scope="module")
def data(dataset, make_config) -> TrainingData:
    return prepare_data(dataset, make_config(validation_fraction=0.5))


def test_reading_and_writing(path, tmp_path):
    def copy() -> None:
        save_dataset(load_dataset(path), tmp_path / "copy.npz")

    assert peak_memory(copy) < MAX_PEAK + 2**24  # NumPy writes 16 MiB at a time
    assert (tmp_path / "copy.npz").read_bytes() == path.read_bytes()


def test_statistics_of_all_images(dataset, data, images, make_config):
    config = make_config(validation_fraction=0.5)
    found: dict[str, object] = {}

    def compute() -> None:
        found["mean"] = mean_image(dataset.x_train)
        found["border"] = border_range(data.x_train)
        found["normalization"] = prepare_data(dataset, config).normalization
        found["warnings"] = duplicate_warnings(dataset)

    assert peak_memory(compute) < MAX_PEAK
    np.testing.assert_array_equal(found["mean"], images.mean(axis=0))
    kept = images[data.x_train.rows]
    is_border = np.ones((32, 32), bool)
    is_border[1:-1, 1:-1] = False
    border = kept[:, is_border].mean(axis=(1, 2)) / 255
    np.testing.assert_allclose(found["border"], np.percentile(border, [1, 99]), rtol=1e-5)
    scaled = kept.reshape(-1, 3) / 255
    assert found["normalization"].mean == pytest.approx(tuple(scaled.mean(axis=0)), rel=1e-9)
    assert found["normalization"].std == pytest.approx(tuple(scaled.std(axis=0)), rel=1e-9)
    assert len(found["warnings"]) == 1
    assert "1,000 of 1,000 test images have the same pixels" in found["warnings"][0]


def test_images_of_an_epoch(data, monkeypatch):
    monkeypatch.setattr(feed, "CHUNK_BYTES", SIZE // 20)
    layout = layout_for_training(64, 17, 64)
    steps = len(data.x_train) // 64
    source = feed.StreamingFeed(data, layout, steps)
    bounds = [(step, step + 4) for step in range(0, steps - 4, 4)]
    assert source.calls_per_epoch <= len(bounds) + 1

    def read() -> None:
        for _ in source.calls(epoch_order(0, 0, len(data.x_train)), bounds):
            pass

    assert peak_memory(read) < MAX_PEAK


def mean_pixels(images: ImageArray) -> np.ndarray:
    """Return the mean pixel of each image, as logits [images, 3], reading 100 images at a time."""
    starts = range(0, len(images), 100)
    return np.concatenate([images[n : n + 100].mean(axis=(1, 2)) for n in starts])


def test_predictions_and_images_with_changed_patches(data, make_config):
    settings = make_config({"patch_size": 16}).model
    model = make_model(settings, 4)
    weights = random_params(settings, SHAPE, 4)
    layout = layout_for_inference(100, 5, 64)
    predict = make_predictor(model, Normalization((0.0,) * 3, (1.0,) * 3), layout)
    few = data.x_validation[:100]
    expected = predict(weights, few)
    assert np.ptp(expected, axis=0).min() > 0.1  # images differ, so that their order matters

    def compute() -> None:
        np.testing.assert_array_equal(predict(weights, data.x_validation)[:100], expected)
        # With six methods they are more than may be in memory.
        some = ImageRows(data.x_validation, np.arange(800))
        maps = np.stack([*reference_maps(some, (2, 2), 0).values()] * 3)
        faithfulness(mean_pixels, some, few[0], maps, np.zeros(800, int), (2, 2))

    assert peak_memory(compute) < MAX_PEAK
