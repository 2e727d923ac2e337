"""The accuracy on corrupted images that the stage `evaluate` has measured."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from vit_hk.data.corruptions import MAX_SEVERITY
from vit_hk.errors import shorten
from vit_hk.report.reading import read_table, user_error_if_damaged

TEXT = ["corruption", "measure", "unit"]
NUMBERS = ["severity", "strength", "accuracy", "standard_error", "mean_error", "examples"]


def read_corruptions(path: Path, names: Sequence[str]) -> pd.DataFrame:
    """Read what `vit_hk.robustness.measure_corruptions` returned.

    Args:
      path: the file.
      names: the corruptions that were measured, in their order.

    Raises:
      UserError: the file is missing or damaged, has other corruptions, or lacks a severity.
    """
    table = read_table(path, "evaluate", TEXT, NUMBERS)
    with user_error_if_damaged(path, "evaluate"):
        found = table["corruption"].unique().tolist()
        if found != list(names):
            raise ValueError(
                f"it holds the corruptions {shorten(found)}, the settings {shorten(list(names))}"
            )
        for name in names:
            severities = table.loc[table["corruption"] == name, "severity"]
            if severities.tolist() != list(range(MAX_SEVERITY + 1)):
                raise ValueError(f"{name} must have the severities 0 to {MAX_SEVERITY}, in order")
    return table
