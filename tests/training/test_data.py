import numpy as np
import pytest

from vit_hk.dataset import Dataset
from vit_hk.errors import UserError
from vit_hk.training.data import prepare_data

COUNTS = {0: 40, 1: 20, 2: 8}  # images a class, all multiples of 4


@pytest.fixture(scope="module")
def dataset():
    random = np.random.default_rng(0)
    labels = random.permutation(np.repeat(list(COUNTS), list(COUNTS.values()))).astype(np.int32)
    images = random.integers(0, 256, (68, 8, 12, 2), dtype=np.uint8)
    images[..., 1] //= 4  # the channels differ
    # Image n says which it is and of which class, and no other pixels are like it.
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


def test_split_is_a_stratified_partition_with_the_right_labels(dataset, make_params):
    data = prepare_data(dataset, make_params(validation_fraction=0.25))
    for split, share in [("train", 0.75), ("validation", 0.25)]:
        images, labels = getattr(data, f"x_{split}"), getattr(data, f"y_{split}")
        assert images.dtype == np.uint8
        np.testing.assert_array_equal(images[:, 0, 1, 0], labels)
        for label, count in COUNTS.items():
            assert (labels == label).sum() == share * count
    numbers = [*data.x_train[:, 0, 0, 0], *data.x_validation[:, 0, 0, 0]]
    assert sorted(numbers) == list(range(68))


def test_the_seed_decides_the_split(dataset, make_params):
    first, again, other = (prepare_data(dataset, make_params(seed=seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.x_validation, again.x_validation)
    assert (first.x_validation[:, 0, 0, 0] != other.x_validation[:, 0, 0, 0]).any()


def test_mean_and_deviation_are_those_of_the_training_part(dataset, make_params):
    data = prepare_data(dataset, make_params(validation_fraction=0.5))
    scaled = data.x_train / 255
    assert data.mean == pytest.approx(list(scaled.mean(axis=(0, 1, 2))))
    assert data.std == pytest.approx(list(scaled.std(axis=(0, 1, 2))))
    # Those of all images differ by more than rounding.
    everything = dataset.x_train / 255
    assert np.abs(everything.mean(axis=(0, 1, 2)) - data.mean).max() > 1e-4


@pytest.mark.parametrize(
    ("patch", "fits"), [(1, True), (2, True), (4, True), (3, False), (8, False)]
)
def test_patch_size_must_divide_height_and_width(dataset, make_params, patch, fits):
    params = make_params(model={"patch_size": patch})
    if fits:
        prepare_data(dataset, params)
    else:
        with pytest.raises(UserError, match=rf"model\.patch_size is {patch}.*8 x 12.*: 1, 2, 4$"):
            prepare_data(dataset, params)


def test_shift_must_be_smaller_than_the_images(dataset, make_params):
    prepare_data(dataset, make_params(augment={"shift": 7}))
    with pytest.raises(UserError, match=r"train\.augment\.shift is 8.*allowed: 0 to 7$"):
        prepare_data(dataset, make_params(augment={"shift": 8}))


def test_batch_must_fit_the_training_part(dataset, make_params):
    # 68 images, of which 17 are set aside.
    prepare_data(dataset, make_params(batch_size=51))
    with pytest.raises(UserError, match=r"train\.batch_size is 52.*51 images; allowed: 1 to 51$"):
        prepare_data(dataset, make_params(batch_size=52))
