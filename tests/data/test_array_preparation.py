import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from settings_file import AS_THEY_ARE

from vit_hk.data.dataset import Dataset
from vit_hk.data.sources.array_preparation import prepare_arrays
from vit_hk.errors import UserError
from vit_hk.params import DataSettings, Preparation

RECORDED = {"height": 6, "width": 8, "resize": "crop", "background": 0}


def settings(**changes) -> DataSettings:
    return DataSettings(name="mnist", root="x", offline="fail", **{**AS_THEY_ARE, **changes})


def dataset_of(channels: int) -> Dataset:
    random = np.random.default_rng(0)
    x = random.integers(0, 256, (5, 6, 8, channels), dtype=np.uint8)
    y = np.array([0, 1, 0, 1, 0], np.int32)
    return Dataset(x, y, x[:2], y[:2], "toy", "made for a test", ("a", "b"))


@pytest.mark.parametrize("channels", [1, 3])
def test_images_that_stay_as_they_are_keep_their_array(channels):
    dataset = dataset_of(channels)
    prepared = prepare_arrays(dataset, settings())
    assert prepared.x_train is dataset.x_train
    assert prepared.preparation.model_dump() == {**RECORDED, "channels": channels}
    same = prepare_arrays(dataset, settings(image_size=[6, 8], channels=channels, resize="pad"))
    assert same.x_test is dataset.x_test
    assert same.preparation.resize == "pad"


def test_preparation_of_an_own_file_is_kept():
    own = Preparation(height=6, width=8, channels=1, resize="stretch", background=255)
    dataset = dataclasses.replace(dataset_of(1), preparation=own)
    assert prepare_arrays(dataset, settings()).preparation == own


def test_images_are_resized_as_pillow_does():
    dataset = dataset_of(3)
    prepared = prepare_arrays(dataset, settings(image_size=[12, 10], resize="stretch"))
    assert prepared.image_shape == (12, 10, 3)
    assert prepared.preparation.image_shape == (12, 10, 3)
    for before, after in zip(dataset.x_train, prepared.x_train, strict=True):
        expected = Image.fromarray(before).resize((10, 12), Image.Resampling.BICUBIC)
        np.testing.assert_array_equal(after, np.asarray(expected))
    np.testing.assert_array_equal(prepared.x_test, prepared.x_train[:2])
    np.testing.assert_array_equal(prepared.y_train, dataset.y_train)


def test_colours_become_grey_and_grey_becomes_colours():
    dataset = dataset_of(3)
    grey = prepare_arrays(dataset, settings(channels=1))
    expected = dataset.x_train @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(grey.x_train[..., 0], expected, atol=1)
    colours = prepare_arrays(dataset_of(1), settings(channels=3))
    np.testing.assert_array_equal(colours.x_train, np.repeat(dataset_of(1).x_train, 3, axis=-1))


def test_room_for_both_splits_is_checked_before_an_image_is_written(monkeypatch, one_line):
    dataset = dataset_of(1)
    needed = 2 * (5 + 2) * 12 * 10
    free = SimpleNamespace(free=needed - 1)
    monkeypatch.setattr("vit_hk.data.spool.shutil.disk_usage", lambda _: free)
    with pytest.raises(UserError) as caught:
        prepare_arrays(dataset, settings(image_size=[12, 10]))
    assert f"{needed:,} bytes are needed on the disk" in one_line(caught.value)


def test_images_of_other_channels_can_only_stay_as_they_are(one_line):
    dataset = dataset_of(2)
    assert prepare_arrays(dataset, settings()) is dataset
    for change in ({"image_size": [6, 8]}, {"channels": 3}):
        with pytest.raises(UserError) as caught:
            prepare_arrays(dataset, settings(**change))
        assert "are for images of 1 or 3 channels, those of toy have 2" in one_line(caught.value)
