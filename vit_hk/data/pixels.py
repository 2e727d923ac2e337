"""Images in any form that a person has them in, as one array for a model."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from vit_hk.data.image_preparation import (
    Prepared,
    UnreadableImageError,
    decode,
    join_prepared,
    open_image,
    prepare_to_invert,
)
from vit_hk.errors import UserError, in_one_line, shorten
from vit_hk.params import ImageShape, Preparation

OneImage = np.ndarray | str | Path | Image.Image
Images = OneImage | Iterable[OneImage]


def to_pixels(images: Images, image_shape: ImageShape, preparation: Preparation | None) -> Prepared:
    """Return images as arrays; files and Pillow images are prepared as training images were.

    Args:
      images: arrays of the pixels that the model is to see, uint8 [N, height, width, channels], or
        one image without N, and with one channel with or without the last axis; or a path, a
        Pillow image, or several of these.
      image_shape: height, width and channels that the model takes.
      preparation: of files and Pillow images; None where there is none, and only arrays are taken.

    Returns:
      Uint8 [N, height, width, channels]; arrays stay as they are when they are to be inverted.

    Raises:
      UserError: a file cannot be read, an array has another type or shape, or there is no image.
    """
    if isinstance(images, str | Path | Image.Image) or hasattr(images, "__array__"):
        prepared = _pixels_of(images, image_shape, preparation)  # type: ignore[arg-type]
    else:
        none = np.empty((0, *image_shape), np.uint8)
        parts = [_pixels_of(image, image_shape, preparation) for image in images]
        prepared = join_prepared([Prepared(none, none), *parts], np.concatenate)
    if not len(prepared.pixels):
        raise UserError("no images were given; give at least one")
    return prepared


def _pixels_of(
    image: OneImage, image_shape: ImageShape, preparation: Preparation | None
) -> Prepared:
    """Return a file, a Pillow image or an array of images as uint8 [N, height, width, channels]."""
    if not isinstance(image, str | Path | Image.Image):
        array = _checked_array(np.asarray(image), image_shape)
        return Prepared(array, array)
    if preparation is None:
        raise UserError(
            f"this model takes images of {image_shape[-1]} channels, as no image file has; give "
            f"arrays, {_allowed(image_shape)}"
        )
    name = "an image" if isinstance(image, Image.Image) else str(image)
    try:
        if isinstance(image, Image.Image):
            decode(image)
            opened = image
        else:
            opened = open_image(image)
        prepared = prepare_to_invert(opened, preparation)
    except UnreadableImageError as error:
        raise UserError(f"{name} cannot be read: {in_one_line(error)}") from None
    return join_prepared([prepared], np.stack)


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
