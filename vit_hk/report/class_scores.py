"""The scores of each class with confidence intervals."""

import numpy as np
import pandas as pd

from vit_hk.metrics import confusion_matrix
from vit_hk.report.intervals import f1_interval, wilson_interval

SCORES = ("precision", "recall", "f1")


def add_intervals(per_class: pd.DataFrame, labels: np.ndarray, classes: np.ndarray) -> pd.DataFrame:
    """Return the scores with the ends of intervals of 95 %, for example recall_low and recall_high.

    Args:
      per_class: one row for each of C classes, columns precision, recall and f1.
      labels: int [images], true classes.
      classes: int [images], predicted classes.
    """
    counts = confusion_matrix(labels, classes, len(per_class))
    hits, predicted, support = counts.diagonal(), counts.sum(axis=0), counts.sum(axis=1)
    intervals = (
        wilson_interval(hits, predicted),
        wilson_interval(hits, support),
        f1_interval(hits, predicted, support),
    )
    table = per_class.copy()
    for score, (low, high) in zip(SCORES, intervals, strict=True):
        table[f"{score}_low"], table[f"{score}_high"] = low, high
    return table
