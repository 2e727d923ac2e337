"""Pictures inside of the page."""

import base64
import io

import numpy as np
from PIL import Image

from vit_hk.figures.images import displayable


def data_url(png: bytes) -> str:
    """A PNG as the address of an image."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def image_url(image: np.ndarray) -> str:
    """An image uint8 [height, width, channels] as the address of an image, pixel for pixel."""
    pixels = displayable(image)
    grey = (pixels == pixels[..., :1]).all()
    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0] if grey else pixels).save(buffer, "PNG", optimize=True)
    return data_url(buffer.getvalue())
