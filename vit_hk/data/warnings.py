"""Warnings of what a data set lacks, and of settings that do not fit it or do nothing."""

import hashlib

import numpy as np

from vit_hk.data.dataset import Dataset
from vit_hk.data.image_rows import chunks
from vit_hk.errors import shorten
from vit_hk.params import Config

# A digit or a letter is another one in a mirror, or none.
WITHOUT_MIRROR_IMAGES = ("mnist", "kmnist")
MAX_NAMED_CLASSES = 5  # in a warning
HASH_BYTES = 16  # so many that no two images have the same hash by chance


def class_warnings(dataset: Dataset) -> list[str]:
    """Return a line for each way in which classes have too few images."""
    in_train = np.bincount(dataset.y_train, minlength=dataset.num_classes)
    in_test = np.bincount(dataset.y_test, minlength=dataset.num_classes)
    findings = {
        "in the test set only, which the model cannot learn": (in_train == 0) & (in_test > 0),
        "without any image": (in_train == 0) & (in_test == 0),
        "with one training image, which is not held out for validation": in_train == 1,
        "without a test image": (in_train > 0) & (in_test == 0),
    }
    return [
        f"warning: classes {text}: {np.count_nonzero(found)} of {dataset.num_classes} "
        f"({_list_names(dataset, found)})"
        for text, found in findings.items()
        if found.any()
    ]


def flip_warnings(config: Config, dataset: Dataset) -> list[str]:
    """Return a line if images are flipped though their classes have no mirror images, else none."""
    if not (config.train.augment.flip and dataset.name in WITHOUT_MIRROR_IMAGES):
        return []
    return [
        f"warning: train.augment.flip is true, but the classes of {dataset.name} have no mirror "
        "images; set it to false in params.yaml"
    ]


def drop_path_warnings(config: Config) -> list[str]:
    """Return a line if drop path is on in a model without a block that drops, else none."""
    rate = config.model.drop_path
    if not rate or config.model.num_layers > 1:
        return []
    return [
        f"warning: model.drop_path is {rate}, which does nothing with model.num_layers = 1, since "
        "the rate grows from 0 in the first block; set it to 0 in params.yaml, or use more layers"
    ]


def duplicate_warnings(dataset: Dataset) -> list[str]:
    """Return a line if test images have the same pixels as training images, else none."""
    hashes = _pixel_hashes(dataset.x_test)
    known, images = np.unique(hashes, return_inverse=True)  # of the test images, the fewer
    is_seen = np.zeros(len(known), bool)
    for chunk in chunks(dataset.x_train):
        of_chunk = _pixel_hashes(chunk)
        places = np.searchsorted(known, of_chunk).clip(max=len(known) - 1)
        is_seen[places[known[places] == of_chunk]] = True
    count = np.count_nonzero(is_seen[images])
    if not count:
        return []
    return [
        f"warning: {count:,} of {len(dataset.x_test):,} test images have the same pixels as a "
        "training image, so the model has seen them; leave them out of one of the two sets"
    ]


def _pixel_hashes(images: np.ndarray) -> np.ndarray:
    """Return a hash of each image's pixels, as bytes [images]."""
    hashes = (hashlib.blake2b(x.tobytes(), digest_size=HASH_BYTES).digest() for x in images)
    return np.fromiter(hashes, f"S{HASH_BYTES}", len(images))


def _list_names(dataset: Dataset, found: np.ndarray) -> str:
    numbers = np.flatnonzero(found)
    names = ", ".join(shorten(dataset.class_names[n]) for n in numbers[:MAX_NAMED_CLASSES])
    more = len(numbers) - MAX_NAMED_CLASSES
    return f"{names} and {more} more" if more > 0 else names
