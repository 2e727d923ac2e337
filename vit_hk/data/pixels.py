"""Images in any form that a person has them in, as one array for a model."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from vit_hk.data.image_preparation import UnreadableImageError, open_image, prepare_image
from vit_hk.errors import UserError, in_one_line, shorten
from vit_hk.params import ImageShape, Preparation

OneImage = np.ndarray | str | Path | Image.Image
Images = OneImage | Iterable[OneImage]


def to_pixels(
    images: Images, image_shape: ImageShape, preparation: Preparation | None
) -> np.ndarray:
    """Return images as one array; files and Pillow images are prepared as training images were.

    Args:
      images: arrays of the pixels that the model is to see, uint8 [N, height, width, channels], or
        one image without N, and with one channel with or without the last axis; or a path, a
        Pillow image, or several of these.
      image_shape: height, width and channels that the model takes.
      preparation: of files and Pillow images; None where there is none, and only arrays are taken.

    Returns:
      Uint8 [N, height, width, channels].

    Raises:
      UserError: a file cannot be read, an array has another type or shape, or there is no image.
    """
    if isinstance(images, str | Path | Image.Image) or hasattr(images, "__array__"):
        pixels = _pixels_of(images, image_shape, preparation)  # type: ignore[arg-type]
    else:
        parts = [_pixels_of(image, image_shape, preparation) for image in images]
        pixels = np.concatenate([np.empty((0, *image_shape), np.uint8), *parts])
    if not len(pixels):
        raise UserError("no images were given; give at least one")
    return pixels


def _pixels_of(
    image: OneImage, image_shape: ImageShape, preparation: Preparation | None
) -> np.ndarray:
    """Return a file, a Pillow image or an array of images as uint8 [N, height, width, channels]."""
    if not isinstance(image, str | Path | Image.Image):
        return _checked_array(np.asarray(image), image_shape)
    if preparation is None:
        raise UserError(
            f"this model takes images of {image_shape[-1]} channels, as no image file has; give "
            f"arrays, {_allowed(image_shape)}"
        )
    name = "an image" if isinstance(image, Image.Image) else str(image)
    try:
        opened = image if isinstance(image, Image.Image) else open_image(image)
        return prepare_image(opened, preparation)[np.newaxis]
    except (UnreadableImageError, OSError, SyntaxError) as error:  # Pillow decodes late
        raise UserError(f"{name} cannot be read: {in_one_line(error)}") from None


def _checked_array(array: np.ndarray, image_shape: ImageShape) -> np.ndarray:
    shape, one_channel = tuple(image_shape), image_shape[-1] == 1
    with_channels = array
    if one_channel and array.shape[-2:] == shape[:2]:
        with_channels = array[..., np.newaxis]
    if array.dtype != np.uint8 or with_channels.shape[-3:] != shape or with_channels.ndim > 4:
        raise UserError(
            f"images are {array.dtype} {shorten(list(array.shape))}; allowed: "
            f"{_allowed(image_shape)}; files and Pillow images are resized"
        )
    return with_channels.reshape(-1, *shape)


def _allowed(image_shape: ImageShape) -> str:
    height, width, channels = image_shape
    return f"uint8 [N, {height}, {width}{'' if channels == 1 else f', {channels}'}]"
