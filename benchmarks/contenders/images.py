"""Input images for the contenders; random, since the values do not influence the speed."""

from collections.abc import Iterator

import numpy as np

from benchmarks.workload import NUM_IMAGES, Workload


def random_images(work: Workload) -> tuple[np.ndarray, np.ndarray]:
    """Return random images uint8 [images, size, size, channels] and labels int32 [images]."""
    random = np.random.default_rng(0)
    count = num_images(work)
    shape = count, work.image_size, work.image_size, work.channels
    images = random.integers(0, 256, shape, np.uint8)
    return images, random.integers(0, work.num_classes, count, np.int32)


def num_images(work: Workload) -> int:
    """Return the number of images, lower for images larger than MNIST's, to bound the memory."""
    return NUM_IMAGES * 28**2 // max(28, work.image_size) ** 2


def batches(count: int, batch_size: int) -> Iterator[np.ndarray]:
    """Yield batches of indices int [batch_size] below `count` forever, shuffled each epoch."""
    random = np.random.default_rng(0)
    while True:
        order = random.permutation(count)
        for start in range(0, count - batch_size + 1, batch_size):
            yield order[start : start + batch_size]
