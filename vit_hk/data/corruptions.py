"""Corruptions of test images in several severities, in the manner of MNIST-C (arXiv 1906.02337).

Corruptions and strengths differ from those of MNIST-C, so accuracies cannot be compared with them.

They are made here, from fixed random numbers: an image is corrupted in the same way in each run,
whichever others are read with it. Lengths are pixels of images whose shorter side has 28 pixels,
as in MNIST; on others they grow in proportion.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np

from vit_hk.data.image_rows import CHUNK_BYTES, ImageArray

REFERENCE_SIDE = 28  # pixels

# (images uint8 [n, height, width, channels], keys int [n] of their random numbers, strength) ->
# images of the same shape and dtype
Corrupt = Callable[[np.ndarray, np.ndarray, float], np.ndarray]


class Corruption(NamedTuple):
    """A kind of corruption.

    Attributes:
      label: its name for people.
      measure: what its strength is.
      unit: "%", or "px" for pixels; see the top of this file.
      strengths: the strength of each severity, from severity 1.
      corrupt: the function that corrupts images.
      is_whole: whether the strength is rounded to whole pixels, at least one.
    """

    label: str
    measure: str
    unit: Literal["%", "px"]
    strengths: tuple[float, ...]
    corrupt: Corrupt
    is_whole: bool = False

    def strength(self, severity: int, image_shape: tuple[int, ...]) -> float:
        """Return the strength of a severity for images of this height and width; 0 for none."""
        if severity == 0:
            return 0.0
        height, width = image_shape[:2]
        scale = min(height, width) / REFERENCE_SIDE if self.unit == "px" else 1.0
        strength = scale * self.strengths[severity - 1]
        return max(1, round(strength)) if self.is_whole else strength


@dataclasses.dataclass(frozen=True)
class CorruptedImages:
    """Images with a corruption, uint8 [N, height, width, channels]; made when they are read.

    Attributes:
      images: the images, uint8 [N, height, width, channels].
      name: a key of CORRUPTIONS.
      severity: from 1 to MAX_SEVERITY; 0 leaves images as they are.
    """

    images: ImageArray
    name: str
    severity: int

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape (N, height, width, channels)."""
        return self.images.shape

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: Any, /) -> np.ndarray:
        images = self.images[index]
        if self.severity == 0 or not len(images):
            return images
        keys = np.arange(len(self))[index]
        corruption = CORRUPTIONS[self.name]
        strength = corruption.strength(self.severity, self.shape[1:])
        corrupted = np.empty_like(images)
        size = max(1, CHUNK_BYTES // images[0].size)  # bounds the memory of intermediate numbers
        for start in range(0, len(images), size):
            part = slice(start, start + size)
            corrupted[part] = corruption.corrupt(images[part], keys[part], strength)
        return corrupted


def gaussian_noise(images: np.ndarray, keys: np.ndarray, percent: float) -> np.ndarray:
    """Add normal noise to each value; its standard deviation is a percentage of 255."""
    noise = np.stack(
        [_generator(key).standard_normal(images.shape[1:], np.float32) for key in keys]
    )
    return _to_uint8(images + np.float32(2.55 * percent) * noise)


def impulse_noise(images: np.ndarray, keys: np.ndarray, percent: float) -> np.ndarray:
    """Replace a percentage of the values, half of them by 0 and half by 255 (salt and pepper)."""
    draws = np.stack([_generator(key).random(images.shape[1:], np.float32) for key in keys])
    half = np.float32(percent / 200)
    return np.where(draws < half, 0, np.where(draws >= 1 - half, 255, images)).astype(np.uint8)


def gaussian_blur(images: np.ndarray, _: np.ndarray, sigma: float) -> np.ndarray:
    """Blur with a Gaussian kernel of standard deviation `sigma` in pixels, cut off at 4 sigma.

    Beyond the border, images continue with the values at the border.
    """
    by_channel = np.moveaxis(images.astype(np.float32), 3, 1)  # [n, channels, height, width]
    rows, columns = (_blur_matrix(side, sigma) for side in images.shape[1:3])
    return _to_uint8(np.moveaxis(rows @ by_channel @ columns.T, 1, 3))


def _blur_matrix(side: int, sigma: float) -> np.ndarray:
    """Return the matrix float32 [side, side] that blurs a column of `side` pixels."""
    radius = int(4 * sigma + 0.5)
    offsets = np.arange(-radius, radius + 1)
    kernel = np.exp(-0.5 * (offsets / sigma) ** 2)
    pixels = np.arange(side)[:, np.newaxis]
    matrix = np.zeros((side, side))
    np.add.at(matrix, (pixels, (pixels + offsets).clip(0, side - 1)), kernel / kernel.sum())
    return matrix.astype(np.float32)


def brightness(images: np.ndarray, _: np.ndarray, percent: float) -> np.ndarray:
    """Add a percentage of 255 to all values."""
    return _to_uint8(images + np.float32(2.55 * percent))


def translate(images: np.ndarray, keys: np.ndarray, distance: float) -> np.ndarray:
    """Move each image up, down, left or right, at random, by `distance` whole pixels.

    What moves in is black, as where training images are translated.
    """
    pixels = int(distance)
    height, width = images.shape[1:3]
    edge = (pixels, pixels)
    padded = np.pad(images, ((0, 0), edge, edge, (0, 0)))
    corners = [(0, pixels), (2 * pixels, pixels), (pixels, 0), (pixels, 2 * pixels)]
    moved = np.empty_like(images)
    for number, key in enumerate(keys):
        top, left = corners[_generator(key).integers(4)]
        moved[number] = padded[number, top : top + height, left : left + width]
    return moved


def thicken(images: np.ndarray, _: np.ndarray, radius: float) -> np.ndarray:
    """Let bright areas, such as strokes, grow by `radius` pixels to all sides (dilation).

    It is the maximum over a square of 2 radius + 1 pixels; between whole pixels it is interpolated.
    """
    whole = int(radius)
    inner = images
    for _step in range(whole):
        inner = _dilate(inner)
    share = np.float32(radius - whole)
    return _to_uint8((1 - share) * inner + share * _dilate(inner)) if share else inner


def _dilate(images: np.ndarray) -> np.ndarray:
    """Return the maximum of each pixel and its eight neighbours, channel by channel."""
    for axis in (1, 2):
        before = np.moveaxis(images, axis, 0)
        after = before.copy(order="K")
        np.maximum(after[1:], before[:-1], out=after[1:])
        np.maximum(after[:-1], before[1:], out=after[:-1])
        images = np.moveaxis(after, 0, axis)
    return images


def thin(images: np.ndarray, keys: np.ndarray, radius: float) -> np.ndarray:
    """Let bright areas, such as strokes, shrink by `radius` pixels on all sides (erosion)."""
    return ~thicken(~images, keys, radius)


def _generator(key: int) -> np.random.Generator:
    """Return the random numbers of an image: the same ones for all corruptions and severities."""
    return np.random.Generator(np.random.Philox(key=int(key)))


def _to_uint8(images: np.ndarray) -> np.ndarray:
    return images.round().clip(0, 255).astype(np.uint8)


CORRUPTIONS = {
    "gaussian_noise": Corruption(
        "Gaussian noise", "standard deviation", "%", (5, 10, 20, 40), gaussian_noise
    ),
    "impulse_noise": Corruption(
        "impulse noise", "share of the values", "%", (2.5, 5, 10, 20), impulse_noise
    ),
    "gaussian_blur": Corruption(
        "Gaussian blur", "standard deviation", "px", (0.5, 1, 1.5, 2), gaussian_blur
    ),
    "brightness": Corruption("brightness", "added", "%", (5, 10, 20, 40), brightness),
    "translate": Corruption(
        "translation", "distance", "px", (2, 4, 6, 8), translate, is_whole=True
    ),
    "thicken": Corruption("thicker strokes", "growth", "px", (0.5, 1, 1.5, 2), thicken),
    "thin": Corruption("thinner strokes", "shrinkage", "px", (0.25, 0.5, 0.75, 1), thin),
}
MAX_SEVERITY = 4
