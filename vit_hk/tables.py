"""Tables of a model's predictions, apart from the metrics, so that training imports no pandas."""

import numpy as np
import pandas as pd

from vit_hk.metrics import confusion_matrix, softmax


def per_class_table(
    labels: np.ndarray, predictions: np.ndarray, class_names: list[str]
) -> pd.DataFrame:
    """Return a table of precision, recall and F1 of each class; a ratio 0 / 0 is 0.

    Args:
      labels: int [images].
      predictions: int [images], the predicted classes.
      class_names: C names.

    Returns:
      A row for each class, with the columns class, precision, recall, f1 and support.
    """
    counts = confusion_matrix(labels, predictions, len(class_names))
    hits, predicted, support = counts.diagonal(), counts.sum(axis=0), counts.sum(axis=1)
    return pd.DataFrame(
        {
            "class": class_names,
            "precision": _ratio(hits, predicted),
            "recall": _ratio(hits, support),
            "f1": _ratio(2 * hits, predicted + support),
            "support": support,
        }
    )


def _ratio(count: np.ndarray, total: np.ndarray) -> np.ndarray:
    return np.divide(count, total, out=np.zeros(len(total)), where=total > 0).round(6)


def predictions_table(
    labels: np.ndarray, logits: np.ndarray, class_names: list[str]
) -> pd.DataFrame:
    """Return a table of the prediction of each image.

    Args:
      labels: int [images].
      logits: float [images, C].
      class_names: C names.

    Returns:
      A row for each image, with the columns index, actual, predicted and probability, which is
      that of the predicted class.
    """
    return pd.DataFrame(
        {
            "index": np.arange(len(labels)),
            "actual": [class_names[label] for label in labels],
            "predicted": [class_names[label] for label in logits.argmax(axis=-1)],
            "probability": softmax(logits).max(axis=-1).round(6),
        }
    )
