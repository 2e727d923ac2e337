"""Images in the form that matplotlib shows."""

import numpy as np


def to_rgb(image: np.ndarray) -> np.ndarray:
    """Return an image, uint8 [height, width, channels], as RGB, uint8 [height, width, 3].

    Three channels are taken as red, green and blue. Of any other number of channels, the mean
    is shown in grey.
    """
    if image.shape[-1] == 3:
        return image
    grey = image.mean(axis=-1, keepdims=True).astype(np.uint8)
    return np.repeat(grey, 3, axis=-1)
