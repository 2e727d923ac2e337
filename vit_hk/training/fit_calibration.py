"""Fit the temperature and the other statistics that are stored with trained weights."""

import haiku as hk
import numpy as np

from vit_hk.calibration import Calibration, class_distances
from vit_hk.data.image_rows import ImageRows
from vit_hk.data.inversion import border_range
from vit_hk.errors import UserError
from vit_hk.inference import LOGITS_AND_FEATURES, make_predictor
from vit_hk.metrics import softmax
from vit_hk.model.vit import make_model
from vit_hk.params import Config
from vit_hk.training.data import TrainingData
from vit_hk.training.layouts import validation_layout
from vit_hk.training.loop import NOT_FINITE_REMEDY

# Of the training and of the validation images. More hardly change the statistics, and take longer.
MAX_IMAGES = 10_000
MIN_TEMPERATURE, MAX_TEMPERATURE = 0.1, 10.0
QUANTILE = 0.99  # of the validation images, the share that is no further than the threshold
# Directions of features with less than this share of the largest variance are rounding errors, such
# as the direction that the last LayerNorm removes.
MIN_VARIANCE = 1e-6


def calibrate(
    config: Config, weights: hk.Params, data: TrainingData, num_classes: int
) -> Calibration:
    """Measure the calibration of trained weights on training and validation images.

    The temperature and the threshold come from validation images, the class means, the covariance
    and the border from training images, about 10,000 of each at most.

    Args:
      config: all settings.
      weights: the final weights.
      data: the images and labels, and their normalization.
      num_classes: C.

    Raises:
      UserError: the features or logits of these images are not finite.
    """
    model = make_model(config.model, num_classes, scan_layers=config.train.scan_layers)
    layout = validation_layout(config, data.x_train.shape[1:])
    predict = make_predictor(model, data.normalization, layout, LOGITS_AND_FEATURES)
    seen = evenly_from_classes(data.y_train, MAX_IMAGES)
    held_out = evenly_from_classes(data.y_validation, MAX_IMAGES)
    seen_images = ImageRows(data.x_train, seen)
    logits, features = predict(weights, seen_images)
    _check_finite(logits, features, "training")
    class_means, whitening = class_statistics(features, data.y_train[seen], num_classes)
    logits, features = predict(weights, ImageRows(data.x_validation, held_out))
    _check_finite(logits, features, "validation")
    distances = class_distances(features, class_means, whitening)
    return Calibration(
        temperature=np.array(fit_temperature(logits, data.y_validation[held_out]), np.float32),
        class_means=class_means,
        whitening=whitening,
        threshold=np.array(np.quantile(distances, QUANTILE), np.float32),
        border_range=border_range(seen_images),
    )


def _check_finite(logits: np.ndarray, features: np.ndarray, images: str) -> None:
    if not (np.isfinite(logits).all() and np.isfinite(features).all()):
        raise UserError(
            f"the logits or features of {images} images are not finite with the final weights; "
            f"{NOT_FINITE_REMEDY}"
        )


def evenly_from_classes(labels: np.ndarray, count: int) -> np.ndarray:
    """Return the indices of about `count` images, the same share of each class, evenly spaced.

    Args:
      labels: int [images].
      count: number of images; of each class at least one is taken.

    Returns:
      Indices, int [images taken], sorted.
    """
    share = min(1.0, count / len(labels))
    taken = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        number = max(1, round(share * len(members)))
        taken.append(members[np.arange(number) * len(members) // number])
    return np.sort(np.concatenate(taken))


def class_statistics(
    features: np.ndarray, labels: np.ndarray, num_classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean features of each class, and the whitening of their shared covariance.

    Args:
      features: float [images, D].
      labels: int [images]. A class without an image gets the mean of another one, so that it does
        not change the distance to the nearest class.
      num_classes: C.

    Returns:
      The means float32 [C, D], and a matrix W float32 [D, D] with W W^T the pseudo-inverse of the
      covariance (arXiv 1807.03888, equation 1).
    """
    counts = np.bincount(labels, minlength=num_classes)
    sums = np.zeros((num_classes, features.shape[1]))
    np.add.at(sums, labels, features)
    means = sums / np.maximum(counts, 1)[:, np.newaxis]
    means[counts == 0] = means[counts.argmax()]
    centered = features - means[labels]
    variances, directions = np.linalg.eigh(centered.T @ centered / len(features))
    is_kept = variances > MIN_VARIANCE * variances.max()
    scales = np.where(is_kept, 1 / np.sqrt(np.where(is_kept, variances, 1.0)), 0.0)
    return means.astype(np.float32), (directions * scales).astype(np.float32)


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the temperature in [0.1, 10] that minimizes the cross-entropy (arXiv 1706.04599).

    The cross-entropy is a convex function of the inverse temperature, so bisection of its
    derivative finds the minimum. Where all images are classified correctly there is none, since
    ever more confident predictions are better, and the temperature is 1.

    Args:
      logits: float [images, C].
      labels: int [images].
    """
    logits = logits.astype(np.float64)
    if (logits.argmax(axis=1) == labels).all():
        return 1.0
    true = logits[np.arange(len(labels)), labels]
    low, high = 1 / MAX_TEMPERATURE, 1 / MIN_TEMPERATURE  # of the inverse temperature
    for _ in range(50):  # halves the interval to less than 1e-13
        middle = (low + high) / 2
        expected = (softmax(middle * logits) * logits).sum(axis=1)
        if (expected - true).mean() < 0:  # the derivative of the cross-entropy
            low = middle
        else:
            high = middle
    return 2 / (low + high)
