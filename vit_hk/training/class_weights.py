"""Weights of classes in the loss, so that rare classes count as much as frequent ones."""

import numpy as np


def balanced_class_weights(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Return n / (C · n_c) for each class, float32 [num_classes].

    n is the number of images, C that of classes that have some, and n_c that of images of a class:
    scikit-learn's `class_weight="balanced"` (King and Zeng, Logistic Regression in Rare Events
    Data, 2001). The mean weight of the images is 1. A class without images has the weight 0.

    Args:
      labels: int [images].
      num_classes: the number of classes, of which some may have no image.
    """
    counts = np.bincount(labels, minlength=num_classes)
    present = counts > 0
    weights = np.zeros(num_classes)
    weights[present] = len(labels) / (np.count_nonzero(present) * counts[present])
    return weights.astype(np.float32)
