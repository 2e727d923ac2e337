"""The history of the training, as a table and as charts."""

from pathlib import Path

import pandas as pd

from vit_hk.report.charts import Chart, make_chart, make_logarithmic_chart
from vit_hk.report.reading import read_table, user_error_if_damaged


def read_history(path: Path, epochs: int | None) -> pd.DataFrame:
    """Read the history, one row for each epoch.

    Args:
      path: the file.
      epochs: how many epochs it must have; None for any number.

    Raises:
      UserError: the file is missing or damaged, or has other epochs.
    """
    losses = ["train_loss", "validation_loss"]
    numbers = ["epoch", *losses, "validation_accuracy", "learning_rate"]
    table = read_table(path, "train", [], numbers)
    with user_error_if_damaged(path, "train"):
        last = epochs or len(table)
        if table["epoch"].tolist() != list(range(1, last + 1)):
            raise ValueError(f"not one row for each of the epochs 1 to {last}, in order")
    return table


def make_charts(history: pd.DataFrame) -> list[Chart]:
    """Lay out charts of the losses and of the validation accuracy."""
    history = history.set_index("epoch")
    losses = {"training": history["train_loss"], "validation": history["validation_loss"]}
    accuracy = {"validation": 100 * history["validation_accuracy"]}
    return [
        make_logarithmic_chart("Loss", "cross-entropy (nats), logarithmic", losses),
        make_chart("Validation accuracy", "accuracy (%)", accuracy, max_y=100),
    ]
