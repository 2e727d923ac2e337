"""Logits and labels -> metrics and tables. NumPy only."""

import numpy as np
import pandas as pd

CALIBRATION_BINS = 15


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities, float64 [N, C], from logits [N, C]."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    exponential = np.exp(shifted)
    return exponential / exponential.sum(axis=-1, keepdims=True)


def summarize(logits: np.ndarray, labels: np.ndarray) -> dict[str, float | int]:
    """Headline metrics of one split.

    Args:
      logits: float [N, C].
      labels: int [N].

    Returns:
      accuracy in [0, 1], error_count, loss (mean cross-entropy in nats),
      calibration_error (see `calibration_error`) and examples, the N.
    """
    probabilities = softmax(logits)
    correct = probabilities.argmax(axis=-1) == labels
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    log_likelihood = shifted[np.arange(len(labels)), labels] - np.log(np.exp(shifted).sum(axis=-1))
    return {
        "accuracy": round(float(correct.mean()), 6),
        "error_count": int((~correct).sum()),
        "loss": round(float(-log_likelihood.mean()), 6),
        "calibration_error": round(calibration_error(probabilities, labels), 6),
        "examples": len(labels),
    }


def calibration_error(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Expected calibration error, arXiv 1706.04599, equation 3, with 15 equal bins.

    The mean distance between the confidence of a prediction and the share of right ones
    among predictions of that confidence: 0 is perfect, 1 the worst.

    Args:
      probabilities: [N, C].
      labels: int [N].
    """
    confidence = probabilities.max(axis=-1)
    correct = probabilities.argmax(axis=-1) == labels
    # Bin m holds the confidences in ((m - 1) / 15, m / 15].
    bins = np.ceil(confidence * CALIBRATION_BINS).astype(int).clip(1, CALIBRATION_BINS)
    gap = np.bincount(bins, weights=correct - confidence, minlength=CALIBRATION_BINS + 1)
    return float(np.abs(gap).sum() / len(labels))


def per_class_table(
    labels: np.ndarray, predictions: np.ndarray, class_names: list[str]
) -> pd.DataFrame:
    """Columns class, precision, recall, f1, support; a share of nothing counts as 0."""
    classes = range(len(class_names))
    hits = np.array([((labels == c) & (predictions == c)).sum() for c in classes])
    predicted = np.array([(predictions == c).sum() for c in classes])
    support = np.array([(labels == c).sum() for c in classes])
    return pd.DataFrame(
        {
            "class": class_names,
            "precision": _share(hits, predicted),
            "recall": _share(hits, support),
            "f1": _share(2 * hits, predicted + support),
            "support": support,
        }
    )


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.zeros(len(whole)), where=whole > 0).round(6)


def confusion_counts(labels: np.ndarray, predictions: np.ndarray, num_classes: int) -> np.ndarray:
    """Int [C, C]: row actual, column predicted."""
    counts = np.zeros((num_classes, num_classes), dtype=int)
    np.add.at(counts, (labels, predictions), 1)
    return counts


def most_confident_mistakes(
    probabilities: np.ndarray, labels: np.ndarray, count: int
) -> np.ndarray:
    """Indices of at most `count` wrong predictions, the most confident first."""
    confidence = probabilities.max(axis=-1)
    wrong = np.flatnonzero(probabilities.argmax(axis=-1) != labels)
    return wrong[np.argsort(-confidence[wrong], kind="stable")][:count]
