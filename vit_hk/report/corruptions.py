"""The accuracy on corrupted images that the stage `evaluate` has measured."""

from pathlib import Path

import pandas as pd

from vit_hk.data.corruptions import CORRUPTIONS, MAX_SEVERITY
from vit_hk.errors import shorten
from vit_hk.report.reading import read_table, user_error_if_damaged

TEXT = ["corruption", "measure", "unit"]
NUMBERS = ["severity", "strength", "accuracy", "standard_error", "mean_error", "examples"]


def read_corruptions(path: Path) -> pd.DataFrame:
    """Read what `vit_hk.robustness.measure_corruptions` returned.

    Raises:
      UserError: the file is missing or damaged, has an unknown corruption, or lacks a severity.
    """
    table = read_table(path, "evaluate", TEXT, NUMBERS)
    with user_error_if_damaged(path, "evaluate"):
        for name in table["corruption"].unique():
            if name not in CORRUPTIONS:
                raise ValueError(f"unknown corruption {shorten(name)}")
            severities = table.loc[table["corruption"] == name, "severity"]
            if severities.tolist() != list(range(MAX_SEVERITY + 1)):
                raise ValueError(f"{name} must have the severities 0 to {MAX_SEVERITY}, in order")
    return table
