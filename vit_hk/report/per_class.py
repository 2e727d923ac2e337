"""results/per_class.csv, checked against the classes of the data."""

from pathlib import Path

import pandas as pd

from vit_hk.dataset import Dataset
from vit_hk.report.reading import read_table, readable

SCORES = ["precision", "recall", "f1", "support"]


def read_per_class(path: Path, dataset: Dataset) -> pd.DataFrame:
    """A row for each class of the data set, in their order.

    Raises:
      UserError: the file is missing or damaged, or is about other classes.
    """
    table = read_table(path, "evaluate", ["class"], SCORES)
    with readable(path, "evaluate"):
        if table["class"].tolist() != list(dataset.class_names):
            raise ValueError("not the classes of the data set")
    return table
