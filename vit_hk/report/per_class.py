"""The scores of each class, checked against the classes of the data."""

from pathlib import Path

import pandas as pd

from vit_hk.data.dataset import Dataset
from vit_hk.report.reading import read_table, user_error_if_damaged

SCORES = ["precision", "recall", "f1", "support"]


def read_per_class(path: Path, dataset: Dataset) -> pd.DataFrame:
    """Read the scores, one row for each class of the data set, in the order of the classes.

    Raises:
      UserError: the file is missing or damaged, or is about other classes.
    """
    table = read_table(path, "evaluate", ["class"], SCORES)
    with user_error_if_damaged(path, "evaluate"):
        if table["class"].tolist() != list(dataset.class_names):
            raise ValueError("not the classes of the data set")
    return table
