"""Metrics from logits and labels, in NumPy."""

import numpy as np

CALIBRATION_BINS = 15


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return the probabilities float64 [images, C] of logits [images, C]."""
    exponentials = np.exp(_subtract_max(logits))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    """Return the logarithms of the probabilities, float64 [images, C]; finite where these are 0."""
    shifted = _subtract_max(logits)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def _subtract_max(logits: np.ndarray) -> np.ndarray:
    """Return logits float64 [images, C] with the maximum 0, so that np.exp cannot overflow."""
    return logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)


def summarize(logits: np.ndarray, labels: np.ndarray) -> dict[str, float | int]:
    """Return the headline metrics of one split.

    Args:
      logits: float [images, C].
      labels: int [images].

    Returns:
      accuracy in [0, 1], balanced_accuracy and macro_f1 (see `balanced_accuracy_and_macro_f1`),
      error_count, loss (mean cross-entropy in nats), calibration_error (see `calibration_error`)
      and examples, the number of images.
    """
    probabilities = softmax(logits)
    predictions = logits.argmax(axis=-1)
    balanced_accuracy, macro_f1 = balanced_accuracy_and_macro_f1(
        labels, predictions, logits.shape[-1]
    )
    correct = predictions == labels
    log_likelihood = _log_softmax(logits)[np.arange(len(labels)), labels]
    return {
        "accuracy": round(float(correct.mean()), 6),
        "balanced_accuracy": round(balanced_accuracy, 6),
        "macro_f1": round(macro_f1, 6),
        "error_count": int((~correct).sum()),
        "loss": round(float(-log_likelihood.mean()), 6),
        "calibration_error": round(calibration_error(probabilities, labels), 6),
        "examples": len(labels),
    }


def summarize_scaled(
    logits: np.ndarray, labels: np.ndarray, temperature: float
) -> dict[str, float | int]:
    """Return loss and calibration error after temperature scaling (arXiv 1706.04599, section 4.2).

    Args:
      logits: float [images, C].
      labels: int [images].
      temperature: divides the logits; it changes no prediction.

    Returns:
      The temperature, and loss and calibration_error as in `summarize`.
    """
    scaled = summarize(logits.astype(np.float64) / temperature, labels)
    names = ("loss", "calibration_error")
    return {"temperature": round(temperature, 6)} | {name: scaled[name] for name in names}


def balanced_accuracy_and_macro_f1(
    labels: np.ndarray, predictions: np.ndarray, num_classes: int
) -> tuple[float, float]:
    """Return balanced accuracy and macro F1, in which each class has the same weight.

    Both are as in scikit-learn: `balanced_accuracy_score` is the mean recall of the classes with
    images, `f1_score(average="macro")` the mean F1 of the classes with images or predictions.

    Args:
      labels: int [images], at least one.
      predictions: int [images], the predicted classes.
      num_classes: C.
    """
    counts = confusion_matrix(labels, predictions, num_classes)
    hits, support, predicted = counts.diagonal(), counts.sum(axis=1), counts.sum(axis=0)
    with_images, used = support > 0, support + predicted > 0
    recall = hits[with_images] / support[with_images]
    f1 = 2 * hits[used] / (support + predicted)[used]
    return float(recall.mean()), float(f1.mean())


def calibration_error(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the expected calibration error with 15 equal bins (arXiv 1706.04599, equation 3).

    It is the mean distance between the confidence of predictions and the accuracy among
    predictions of that confidence: 0 is perfect, 1 is the maximum.

    Args:
      probabilities: [images, C].
      labels: int [images].
    """
    confidence = probabilities.max(axis=-1)
    correct = probabilities.argmax(axis=-1) == labels
    bins = confidence_bins(confidence)
    gap = np.bincount(bins, weights=correct - confidence, minlength=CALIBRATION_BINS + 1)
    return float(np.abs(gap).sum() / len(labels))


def confidence_bins(confidence: np.ndarray) -> np.ndarray:
    """Return the bin of each confidence in [0, 1], int from 1 to CALIBRATION_BINS.

    Bin m holds the confidences in ((m - 1) / CALIBRATION_BINS, m / CALIBRATION_BINS].
    """
    return np.ceil(confidence * CALIBRATION_BINS).astype(int).clip(1, CALIBRATION_BINS)


def confusion_matrix(labels: np.ndarray, predictions: np.ndarray, num_classes: int) -> np.ndarray:
    """Return the confusion matrix int [C, C]: a row per actual, a column per predicted class."""
    counts = np.zeros((num_classes, num_classes), dtype=int)
    np.add.at(counts, (labels, predictions), 1)
    return counts


def most_confident_mistakes(
    predicted: np.ndarray, confidence: np.ndarray, labels: np.ndarray
) -> np.ndarray:
    """Return the indices of all wrong predictions, the most confident first.

    Args:
      predicted: int [images], classes.
      confidence: [images], the probabilities of these classes.
      labels: int [images].
    """
    wrong = np.flatnonzero(predicted != labels)
    return wrong[np.argsort(-confidence[wrong], kind="stable")]


def faithfulness_score(
    shares: np.ndarray, deletion: np.ndarray, insertion: np.ndarray
) -> np.ndarray:
    """Return the area under the insertion curve minus the area under the deletion curve.

    It is at most 1; a random order of the patches has a score near 0.

    Args:
      shares: [steps], share of the patches that have been changed, from 0 to 1.
      deletion: [..., steps], probability after the most important patches are deleted.
      insertion: [..., steps], probability after the most important patches are inserted.

    Returns:
      [...].
    """
    return np.trapezoid(insertion - deletion, shares, axis=-1)
