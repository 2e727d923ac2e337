"""Pictures as data URLs, which the page embeds."""

import base64
import io

import numpy as np
from PIL import Image

from vit_hk.figures.images import to_rgb

MAX_THUMBNAIL = 128  # pixels of the longer side; pages show thumbnails 64 pixels wide


def data_url(png: bytes) -> str:
    """Return the data URL of a PNG file."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def image_url(image: np.ndarray) -> str:
    """Return the data URL of an image, uint8 [height, width, channels], pixel for pixel."""
    pixels = to_rgb(image)
    is_grey = (pixels == pixels[..., :1]).all()
    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0] if is_grey else pixels).save(buffer, "PNG", optimize=True)
    return data_url(buffer.getvalue())


def thumbnail_url(image: np.ndarray) -> str:
    """Return the data URL of an image, uint8 [height, width, channels], made smaller if large."""
    picture = Image.fromarray(to_rgb(image))
    picture.thumbnail((MAX_THUMBNAIL, MAX_THUMBNAIL))  # keeps the proportions, enlarges nothing
    return image_url(np.asarray(picture))
