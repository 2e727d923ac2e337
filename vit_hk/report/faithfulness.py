"""The deletion and insertion curves of the stage `evaluate`."""

from pathlib import Path

import pandas as pd

from vit_hk.figures.faithfulness import STYLES
from vit_hk.report.reading import read_table, user_error_if_damaged

COLUMNS = [
    "share", "deletion", "insertion", "deletion_error", "insertion_error", "score_error",
]  # fmt: skip


def read_faithfulness(path: Path) -> pd.DataFrame:
    """Read the deletion and insertion curves, one row for each point of each method.

    Columns that end in `_error` are standard errors over the images.

    Raises:
      UserError: the file is missing or damaged, or lacks a method.
    """
    table = read_table(path, "evaluate", ["method"], COLUMNS)
    with user_error_if_damaged(path, "evaluate"):
        if missing := [method for method in STYLES if method not in set(table["method"])]:
            raise ValueError(f"no rows of the method {missing[0]}")
    return table
