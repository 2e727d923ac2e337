"""Statistics of a trained model on its own data, which are stored with its weights.

With them probabilities are calibrated, and images are found that are unlike the training images or
have inverted brightness.
"""

from typing import NamedTuple

import numpy as np


class Calibration(NamedTuple):
    """Statistics of a trained model and its images; all are float32.

    The temperature calibrates probabilities. Class means and whitening say how far an image lies
    from the training images: the Mahalanobis distance of its features to the nearest class mean,
    with one covariance for all classes (arXiv 1807.03888, equation 2).
    """

    temperature: np.ndarray  # [], divides the logits (arXiv 1706.04599, section 4.2)
    class_means: np.ndarray  # [C, D], of the features of the training images
    whitening: np.ndarray  # [D, D], makes the covariance of `features @ whitening` the identity
    threshold: np.ndarray  # [], 99 % quantile of the distances of validation images
    border_range: np.ndarray  # [2], of the training images; see `vit_hk.data.inversion`


def calibration_shapes(num_classes: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
    """Return the shape of each field of a Calibration."""
    return {
        "temperature": (),
        "class_means": (num_classes, hidden_size),
        "whitening": (hidden_size, hidden_size),
        "threshold": (),
        "border_range": (2,),
    }


def class_distances(
    features: np.ndarray, class_means: np.ndarray, whitening: np.ndarray
) -> np.ndarray:
    """Return the Mahalanobis distance of features to the nearest class mean.

    Args:
      features: float [images, D].
      class_means: float [C, D].
      whitening: float [D, D], a matrix W with W W^T the inverse covariance.

    Returns:
      Float64 [images], at least 0.
    """
    # The distance does not depend on the origin; near the means no digits cancel below.
    origin = class_means.mean(axis=0, dtype=np.float64)
    x = (features - origin) @ whitening.astype(np.float64)  # [images, D]
    means = (class_means - origin) @ whitening.astype(np.float64)  # [C, D]
    squared = (x**2).sum(axis=1)[:, np.newaxis] - 2 * x @ means.T + (means**2).sum(axis=1)
    return np.sqrt(squared.min(axis=1).clip(min=0.0))
