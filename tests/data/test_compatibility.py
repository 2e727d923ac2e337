import dataclasses

import numpy as np
import pytest
from settings_file import AUGMENTATION_OFF

from vit_hk.data.compatibility import check_compatible
from vit_hk.data.dataset import Dataset
from vit_hk.data.warnings import (
    class_warnings,
    drop_path_warnings,
    duplicate_warnings,
    flip_warnings,
)
from vit_hk.errors import UserError
from vit_hk.params import Config


@pytest.fixture
def check(tree, tiny_dataset, one_line):
    """Return a function that checks changed settings against the images of 8 x 12 pixels."""

    def run(dataset: Dataset = tiny_dataset, **changes) -> str:
        for key, value in changes.items():
            section, _, name = key.partition("__")
            tree[section][name] = value
        try:
            check_compatible(Config.model_validate(tree), dataset)
        except UserError as error:
            return one_line(error)
        return ""

    return run


def test_settings_that_fit(check):
    assert check() == ""
    assert check(train__batch_size=36) == ""
    assert check(train__augment={**AUGMENTATION_OFF, "shift": 7}) == ""
    assert check(model__patch_size=1) == check(model__patch_size=2) == ""


def test_settings_that_do_not_fit_are_named_with_what_is_allowed(check):
    # 3 divides the width alone, and 8 the height.
    for size in (3, 8):
        allowed = f"model.patch_size is {size}, images of mnist are 8 x 12 pixels; allowed: 1, 2, 4"
        assert allowed in check(model__patch_size=size)
    assert "train.augment.shift is 8, images are 8 x 12 pixels; allowed: 0 to 7" in check(
        model__patch_size=4, train__augment={**AUGMENTATION_OFF, "shift": 8}
    )
    assert "train.batch_size is 37, the training split has 36 images; allowed: 1 to 36" in check(
        train__batch_size=37, train__augment=AUGMENTATION_OFF
    )


def test_more_patches_than_fit_are_refused(check, tiny_dataset):
    large = dataclasses.replace(
        tiny_dataset,
        x_train=np.broadcast_to(np.uint8(0), (48, 80, 120, 2)),
        x_test=np.broadcast_to(np.uint8(0), (18, 80, 120, 2)),
    )
    assert check(large, model__hidden_size=900_000).startswith(
        "params.yaml: with model.patch_size 4 and images of 80 x 120 pixels, patches times "
        "model.hidden_size is 540,000,000; allowed: at most 268,435,456; raise model.patch_size"
    )


def test_more_steps_than_int32_holds_are_refused(check, tiny_dataset):
    many = dataclasses.replace(
        tiny_dataset,
        x_train=np.broadcast_to(np.uint8(0), (4000, 8, 12, 2)),
        y_train=np.arange(4000, dtype=np.int32) % 2,
    )
    # 3,000 steps an epoch; 2**31 - 1 of them are in 715,827.9 epochs.
    assert check(many, train__batch_size=1, train__epochs=715_827) == ""
    assert check(many, train__batch_size=1, train__epochs=715_828) == (
        "params.yaml: train.epochs is 715,828, each of 3,000 steps; allowed: 1 to 715,827 epochs"
    )


@pytest.mark.parametrize(
    ("drop_path", "num_layers", "is_warned"), [(0.3, 1, True), (0.3, 2, False), (0.0, 1, False)]
)
def test_a_warning_names_a_rate_of_drop_path_that_does_nothing(
    tree, drop_path, num_layers, is_warned
):
    tree["model"] |= {"drop_path": drop_path, "num_layers": num_layers}
    warnings = drop_path_warnings(Config.model_validate(tree))
    assert [line for line in warnings if "model.drop_path is 0.3" in line] == warnings
    assert bool(warnings) == is_warned


@pytest.mark.parametrize(
    ("name", "flip", "is_warned"),
    [
        ("mnist", True, True),
        ("kmnist", True, True),
        ("cifar10", True, False),
        ("mnist", False, False),
    ],
)
def test_a_warning_names_data_sets_whose_classes_have_no_mirror_images(
    tree, tiny_dataset, name, flip, is_warned
):
    tree["train"]["augment"] = {**AUGMENTATION_OFF, "flip": flip}
    dataset = dataclasses.replace(tiny_dataset, name=name)
    warnings = flip_warnings(Config.model_validate(tree), dataset)
    expected = (
        f"warning: train.augment.flip is true, but the classes of {name} have no mirror images; "
        "set it to false in params.yaml"
    )
    assert warnings == [expected] * is_warned


def with_counts(dataset: Dataset, train: list[int], test: list[int]) -> Dataset:
    """Return a data set with these numbers of images per class."""
    y_train, y_test = (np.repeat(np.arange(3), counts).astype(np.int32) for counts in (train, test))
    return dataclasses.replace(
        dataset,
        x_train=dataset.x_train[: len(y_train)],
        y_train=y_train,
        x_test=np.resize(dataset.x_test, (len(y_test), *dataset.image_shape)),
        y_test=y_test,
    )


def test_test_images_that_stand_in_the_training_set_are_counted(tiny_dataset):
    assert duplicate_warnings(tiny_dataset) == []
    x_test = tiny_dataset.x_test.copy()
    x_test[3], x_test[7] = tiny_dataset.x_train[0], tiny_dataset.x_train[40]
    x_test[4] = x_test[5]  # twice in the test set alone
    assert duplicate_warnings(dataclasses.replace(tiny_dataset, x_test=x_test)) == [
        "warning: 2 of 18 test images have the same pixels as a training image, so the model has "
        "seen them; leave them out of one of the two sets"
    ]


def test_one_image_per_class_leaves_none_for_validation(check, tiny_dataset):
    message = check(with_counts(tiny_dataset, [1, 1, 1], [1, 1, 1]), train__batch_size=1)
    assert "one training image per class, so none can be held out for validation" in message
    assert "at least one class needs two" in message
    assert check(with_counts(tiny_dataset, [1, 2, 1], [1, 1, 1]), train__batch_size=1) == ""


@pytest.mark.parametrize("fraction", [0.01, 0.5, 0.99])
def test_each_class_with_two_images_is_on_both_sides_of_the_split(check, tiny_dataset, fraction):
    dataset = with_counts(tiny_dataset, [2, 3, 2], [1, 1, 1])
    assert check(dataset, train__batch_size=1, train__validation_fraction=fraction) == ""


def test_nothing_is_said_of_classes_with_enough_images(tiny_dataset):
    assert class_warnings(tiny_dataset) == []


def test_classes_with_too_few_images_are_named(tiny_dataset):
    assert class_warnings(with_counts(tiny_dataset, [1, 0, 5], [2, 3, 0])) == [
        "warning: classes in the test set only, which the model cannot learn: 1 of 3 ('middle')",
        "warning: classes with one training image, which is not held out for validation: 1 of 3 "
        "('left')",
        "warning: classes without a test image: 1 of 3 ('right')",
    ]
    assert class_warnings(with_counts(tiny_dataset, [4, 0, 5], [2, 0, 2])) == [
        "warning: classes without any image: 1 of 3 ('middle')"
    ]


def test_of_many_classes_some_are_named():
    images = np.zeros((20, 4, 4, 1), np.uint8)
    labels = np.arange(20, dtype=np.int32)
    names = tuple(f"class {number}" for number in range(20))
    (line,) = class_warnings(Dataset(images, labels, images, labels, "many", "test", names))
    assert line.startswith("warning: classes with one training image")
    assert "validation: 20 of 20 ('class 0', " in line
    assert line.endswith("'class 3', 'class 4' and 15 more)")
