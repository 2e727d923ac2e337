"""Images as matplotlib shows them."""

import numpy as np


def displayable(image: np.ndarray) -> np.ndarray:
    """RGB uint8 [height, width, 3] from an image [height, width, channels].

    One channel becomes grey, three are red, green and blue; of any other number the mean
    is shown in grey.
    """
    if image.shape[-1] == 3:
        return image
    grey = image.mean(axis=-1, keepdims=True).astype(np.uint8)
    return np.repeat(grey, 3, axis=-1)
