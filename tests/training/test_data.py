import numpy as np
import pytest

from vit_hk.data.dataset import Dataset
from vit_hk.errors import UserError
from vit_hk.training.data import epoch_order, prepare_data

COUNTS = {0: 40, 1: 20, 2: 8}  # images of each class, all multiples of 4


@pytest.fixture(scope="module")
def dataset():
    random = np.random.default_rng(0)
    labels = random.permutation(np.repeat(list(COUNTS), list(COUNTS.values()))).astype(np.int32)
    images = random.integers(0, 256, (68, 8, 12, 2), dtype=np.uint8)
    images[..., 1] //= 4  # the channels differ
    # The first pixels of an image are its number and its class.
    images[:, 0, 0, 0], images[:, 0, 1, 0] = np.arange(68), labels
    return Dataset(
        x_train=images,
        y_train=labels,
        x_test=images[:2],
        y_test=labels[:2],
        name="toy",
        source="drawn",
        class_names=("a", "b", "c"),
    )


def test_split_is_stratified_and_keeps_images_and_labels_together(dataset, make_config):
    data = prepare_data(dataset, make_config(validation_fraction=0.25))
    for split, share in [("train", 0.75), ("validation", 0.25)]:
        images, labels = getattr(data, f"x_{split}")[:], getattr(data, f"y_{split}")
        assert images.dtype == np.uint8
        np.testing.assert_array_equal(images[:, 0, 1, 0], labels)
        for label, count in COUNTS.items():
            assert (labels == label).sum() == share * count
    numbers = [*data.x_train[:][:, 0, 0, 0], *data.x_validation[:][:, 0, 0, 0]]
    assert sorted(numbers) == list(range(68))


def test_split_depends_on_the_seed(dataset, make_config):
    first, second, other = (
        prepare_data(dataset, make_config(seed=seed)).x_validation[:] for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, second)
    assert (first[:, 0, 0, 0] != other[:, 0, 0, 0]).any()


def test_normalization_is_that_of_the_training_images(dataset, make_config):
    data = prepare_data(dataset, make_config(validation_fraction=0.5))
    mean, std = data.normalization.mean, data.normalization.std
    scaled = data.x_train[:] / 255
    assert mean == pytest.approx(tuple(scaled.mean(axis=(0, 1, 2))))
    assert std == pytest.approx(tuple(scaled.std(axis=(0, 1, 2))))
    # The mean of training and validation images differs by more than rounding.
    all_images = dataset.x_train / 255
    assert np.abs(all_images.mean(axis=(0, 1, 2)) - mean).max() > 1e-4


def test_batch_must_not_be_larger_than_the_training_split(dataset, make_config):
    # 17 of the 68 images are held out.
    prepare_data(dataset, make_config(batch_size=51))
    with pytest.raises(UserError, match=r"train\.batch_size is 52.*51 images; allowed: 1 to 51$"):
        prepare_data(dataset, make_config(batch_size=52))


def test_an_image_of_each_class_is_left_for_training(dataset, make_config):
    data = prepare_data(dataset, make_config(validation_fraction=0.999, batch_size=3))
    assert sorted(data.y_train) == list(COUNTS)


def test_epoch_order_is_a_permutation_that_depends_on_seed_and_epoch():
    orders = [tuple(epoch_order(0, epoch, 50).tolist()) for epoch in range(4)]
    for order in orders:
        assert sorted(order) == list(range(50))
    assert len(set(orders)) == 4
    assert tuple(epoch_order(0, 2, 50).tolist()) == orders[2]
    assert tuple(epoch_order(1, 2, 50).tolist()) != orders[2]
