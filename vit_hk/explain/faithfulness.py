"""Deletion and insertion: does a map name the patches that the prediction rests on?

After Petsiuk et al. (arXiv 1806.07421, section 4.3), with whole patches instead of pixels,
because a Vision Transformer's map has one number a patch.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from vit_hk.evaluation import softmax

MOST_STEPS = 16  # more patches than this change several at a time, which bounds the cost


@dataclasses.dataclass(frozen=True)
class Faithfulness:
    """Curves of M maps, averaged over images.

    Attributes:
      shares: [S], of the patches that have been changed: from 0 to 1.
      deletion: [M, S], probability of the class while patches go, the most important first.
      insertion: [M, S], the same while they come. Steep is good: deletion low, insertion high.
    """

    shares: np.ndarray
    deletion: np.ndarray
    insertion: np.ndarray

    @property
    def score(self) -> np.ndarray:
        """[M], area under insertion less area under deletion: at most 1, chance about 0."""
        return np.trapezoid(self.insertion - self.deletion, self.shares, axis=-1)


def faithfulness(
    predict: Callable[[np.ndarray], np.ndarray],
    images: np.ndarray,
    background: np.ndarray,
    maps: np.ndarray,
    classes: np.ndarray,
    grid: tuple[int, int],
) -> Faithfulness:
    """Delete and insert the patches of each image in the order of each map.

    Args:
      predict: uint8 images [n, height, width, channels] -> logits [n, C].
      images: uint8 [B, height, width, channels].
      background: uint8 [height, width, channels], what shows where a patch is taken away. Take
        the mean training image: on black, taking an empty patch away would change nothing,
        though emptiness can be what tells a 4 from a 9, and any map of the ink would do well.
      maps: [M, B, N], the most important patch has the largest number; of equal ones the
        first comes first.
      classes: int [B], whose probability is watched.
      grid: rows and columns of patches.
    """
    count = maps.shape[-1]
    steps = np.linspace(0, count, min(count, MOST_STEPS) + 1).round().astype(int)
    backgrounds = np.broadcast_to(background, images.shape)
    rank = np.argsort(np.argsort(-maps, axis=-1, kind="stable"), axis=-1)  # 0: goes first
    return Faithfulness(
        shares=steps / count,
        deletion=_curves(predict, images, backgrounds, rank, steps, classes, grid),
        insertion=_curves(predict, backgrounds, images, rank, steps, classes, grid),
    )


def _curves(
    predict: Callable[[np.ndarray], np.ndarray],
    before: np.ndarray,
    after: np.ndarray,
    rank: np.ndarray,
    steps: np.ndarray,
    classes: np.ndarray,
    grid: tuple[int, int],
) -> np.ndarray:
    """Float64 [M, S]: probability while the patches of `before` become those of `after`."""
    points = []
    for step in steps:
        changed = np.where(_pixels(rank < step, grid, before.shape), after, before)
        logits = predict(changed.reshape(-1, *before.shape[1:]))
        chosen = softmax(logits)[np.arange(len(logits)), np.tile(classes, len(rank))]
        points.append(chosen.reshape(len(rank), -1).mean(axis=1))
    return np.stack(points, axis=-1)


def _pixels(patches: np.ndarray, grid: tuple[int, int], shape: tuple[int, ...]) -> np.ndarray:
    """From patches [M, B, N] to their pixels [M, B, height, width, 1]."""
    tall, wide = shape[1] // grid[0], shape[2] // grid[1]
    return patches.reshape(*patches.shape[:2], *grid, 1).repeat(tall, 2).repeat(wide, 3)


def reference_maps(images: np.ndarray, grid: tuple[int, int], seed: int) -> dict[str, np.ndarray]:
    """Maps [B, N] that know nothing of the model, to measure the others by.

    Args:
      images: uint8 [B, height, width, channels].
      grid: rows and columns of patches.
      seed: of the random order.

    Returns:
      "random", each image's patches in a random order of its own, and "brightness", the mean
      pixel of each patch.
    """
    count, height, width, channels = images.shape
    rows, columns = grid
    split = images.reshape(count, rows, height // rows, columns, width // columns, channels)
    brightness = split.mean(axis=(2, 4, 5), dtype=np.float64).reshape(count, -1)
    return {
        "random": np.random.default_rng(seed).random(brightness.shape),
        "brightness": brightness,
    }
