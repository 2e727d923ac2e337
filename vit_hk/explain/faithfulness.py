"""Deletion and insertion: do predictions depend on the patches that a map ranks first?

The metrics are those of Petsiuk et al. (arXiv 1806.07421, section 4.3), with patches in place of
pixels, because a map of a Vision Transformer has one value per patch.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from vit_hk.data.image_rows import ImageArray, chunks
from vit_hk.metrics import faithfulness_score, softmax

MAX_STEPS = 16  # bounds the cost: with more patches than this, several change in one step


@dataclasses.dataclass(frozen=True)
class Faithfulness:
    """Deletion and insertion curves of several methods on each image.

    Attributes:
      shares: [steps], share of the patches that have been changed, from 0 to 1.
      deletion: [methods, B, steps], probability of the class after the most important patches are
        deleted. With a faithful map it drops early.
      insertion: [methods, B, steps], probability of the class after the most important patches are
        inserted. With a faithful map it rises early.
    """

    shares: np.ndarray
    deletion: np.ndarray
    insertion: np.ndarray

    @property
    def scores(self) -> np.ndarray:
        """The faithfulness score of each method on each image, [methods, B]."""
        return faithfulness_score(self.shares, self.deletion, self.insertion)


def mean_and_standard_error(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean over images, and its standard error.

    The standard error is the sample standard deviation divided by the square root of the number of
    images; of one image it is 0, since nothing is known of how images differ.

    Args:
      values: [methods, B, ...].

    Returns:
      Both float64 [methods, ...].
    """
    count = values.shape[1]
    if count == 1:
        return values[:, 0], np.zeros_like(values[:, 0])
    return values.mean(axis=1), values.std(axis=1, ddof=1) / np.sqrt(count)


def mean_scores(methods: list[str], curves: Faithfulness) -> dict[str, float]:
    """Return the faithfulness score of each method, averaged over the images."""
    means, _ = mean_and_standard_error(curves.scores)
    # Adding 0 removes the minus of a rounded -0.0.
    return dict(zip(methods, (means.round(4) + 0.0).tolist(), strict=True))


def faithfulness_table(methods: list[str], curves: Faithfulness) -> pd.DataFrame:
    """Return a row for each point of each method's deletion and insertion curve.

    Columns that end in `_error` hold standard errors over the images: of the mean probabilities,
    and of the method's score, which is the same in all rows of a method.
    """
    points = len(curves.shares)
    deletion, deletion_error = mean_and_standard_error(curves.deletion)
    insertion, insertion_error = mean_and_standard_error(curves.insertion)
    _, score_error = mean_and_standard_error(curves.scores)
    return pd.DataFrame(
        {
            "method": np.repeat(methods, points),
            "share": np.tile(curves.shares, len(methods)),
            "deletion": deletion.ravel(),
            "insertion": insertion.ravel(),
            "deletion_error": deletion_error.ravel(),
            "insertion_error": insertion_error.ravel(),
            "score_error": np.repeat(score_error, points),
        }
    ).round(6)


def changed_patches(num_patches: int) -> np.ndarray:
    """Return how many patches are changed at each point of a curve, from none to all, int."""
    return np.linspace(0, num_patches, min(num_patches, MAX_STEPS) + 1).round().astype(int)


def faithfulness(
    predict: Callable[[ImageArray], np.ndarray],
    images: ImageArray,
    background: np.ndarray,
    maps: np.ndarray,
    classes: np.ndarray,
    grid: tuple[int, int],
) -> Faithfulness:
    """Delete and insert the patches of each image in the order of each map.

    Args:
      predict: function from uint8 images [images, height, width, channels] to logits [images, C].
        It is given images that are made when it reads them, since those of all methods together
        may be larger than memory.
      images: uint8 [B, height, width, channels].
      background: uint8 [height, width, channels], which replaces deleted patches. Use the mean
        training image: on a black background, deleting an empty patch would change nothing,
        although emptiness can distinguish a 4 from a 9, and every map that follows the brightness
        would have a high score.
      maps: [methods, B, N], larger for more important patches; ties keep the order of the patches.
      classes: int [B], the class whose probability is measured.
      grid: rows and columns of patches.
    """
    num_patches = maps.shape[-1]
    steps = changed_patches(num_patches)
    backgrounds = np.broadcast_to(background, images.shape)
    # Rank 0 is the most important patch.
    ranks = np.argsort(np.argsort(-maps, axis=-1, kind="stable"), axis=-1)
    return Faithfulness(
        shares=steps / num_patches,
        deletion=_curves(predict, images, backgrounds, ranks, steps, classes, grid),
        insertion=_curves(predict, backgrounds, images, ranks, steps, classes, grid),
    )


def _curves(
    predict: Callable[[ImageArray], np.ndarray],
    before: ImageArray,
    after: ImageArray,
    ranks: np.ndarray,
    steps: np.ndarray,
    classes: np.ndarray,
    grid: tuple[int, int],
) -> np.ndarray:
    """Return the class probabilities, float64 [methods, B, steps], while `before` becomes `after`.

    Args:
      predict: see `faithfulness`.
      before: uint8 [B, height, width, channels].
      after: uint8 [B, height, width, channels].
      ranks: int [methods, B, N], the order in which patches are changed.
      steps: int [steps], numbers of changed patches.
      classes: int [B].
      grid: rows and columns of patches.
    """
    points = []
    for step in steps:
        logits = predict(_ChangedImages(before, after, ranks < step, grid))
        probabilities = softmax(logits)[np.arange(len(logits)), np.tile(classes, len(ranks))]
        points.append(probabilities.reshape(len(ranks), -1))
    return np.stack(points, axis=-1)


@dataclasses.dataclass(frozen=True)
class _ChangedImages:
    """Images with some patches of others, for all methods one after the other; made when read."""

    before: ImageArray  # [B, height, width, channels]
    after: ImageArray
    is_changed: np.ndarray  # bool [methods, B, N]
    grid: tuple[int, int]

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self), *self.before.shape[1:])

    def __len__(self) -> int:
        return len(self.is_changed) * len(self.before)

    def __getitem__(self, index: Any, /) -> np.ndarray:
        methods, images = np.divmod(np.arange(len(self))[index], len(self.before))
        mask = _pixel_mask(self.is_changed[methods, images], self.grid, self.before.shape)
        return np.where(mask, self.after[images], self.before[images])


def _pixel_mask(patches: np.ndarray, grid: tuple[int, int], shape: tuple[int, ...]) -> np.ndarray:
    """Expand a mask of patches [images, N] to pixels [images, height, width, 1]."""
    patch_height, patch_width = shape[1] // grid[0], shape[2] // grid[1]
    tiles = patches.reshape(len(patches), *grid, 1)
    return tiles.repeat(patch_height, 1).repeat(patch_width, 2)


def reference_maps(images: ImageArray, grid: tuple[int, int], seed: int) -> dict[str, np.ndarray]:
    """Return baseline maps [B, N] that do not depend on the model.

    Args:
      images: uint8 [B, height, width, channels].
      grid: rows and columns of patches.
      seed: seed of the random order.

    Returns:
      "random", an independent random order of the patches of each image, and "brightness", the
      mean pixel of each patch.
    """
    brightness = np.concatenate([_patch_means(chunk, grid) for chunk in chunks(images)])
    return {
        "random": np.random.default_rng(seed).random(brightness.shape),
        "brightness": brightness,
    }


def _patch_means(images: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Return the mean pixel of each patch, float64 [B, N]."""
    count, height, width, channels = images.shape
    rows, columns = grid
    patches = images.reshape(count, rows, height // rows, columns, width // columns, channels)
    return patches.mean(axis=(2, 4, 5), dtype=np.float64).reshape(count, -1)
