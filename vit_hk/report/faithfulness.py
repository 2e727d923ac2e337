"""The deletion and insertion curves of the stage `evaluate`."""

from pathlib import Path

import numpy as np
import pandas as pd

from vit_hk.explain.faithfulness import changed_patches
from vit_hk.figures.faithfulness import STYLES
from vit_hk.report.reading import read_table, user_error_if_damaged

COLUMNS = [
    "share", "deletion", "insertion", "deletion_error", "insertion_error", "score_error",
]  # fmt: skip


def score_errors(table: pd.DataFrame) -> dict[str, float]:
    """Return the standard error of the score of each method."""
    return dict(table.groupby("method")["score_error"].first())


def read_faithfulness(path: Path, num_patches: int) -> pd.DataFrame:
    """Read the deletion and insertion curves, one row for each point of each method.

    Columns that end in `_error` are standard errors over the images.

    Args:
      path: the file.
      num_patches: the number of patches of an image.

    Raises:
      UserError: the file is missing or damaged, or lacks a method or a point of a curve.
    """
    table = read_table(path, "evaluate", ["method"], COLUMNS)
    with user_error_if_damaged(path, "evaluate"):
        expected = changed_patches(num_patches) / num_patches
        for method in STYLES:
            shares = table.loc[table["method"] == method, "share"]
            if len(shares) != len(expected) or not np.allclose(shares, expected, atol=1e-5):
                points = f"{len(expected)} points of the method {method}"
                raise ValueError(f"not the {points} for {num_patches} patches")
    return table
