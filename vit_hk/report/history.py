"""The history of the training, as a table and as charts."""

from pathlib import Path

import pandas as pd

from vit_hk.report.charts import Chart, make_chart, make_logarithmic_chart
from vit_hk.report.reading import read_table


def read_history(path: Path) -> pd.DataFrame:
    """Read the history, one row for each epoch.

    Raises:
      UserError: the file is missing or damaged.
    """
    losses = ["train_loss", "validation_loss"]
    numbers = ["epoch", *losses, "validation_accuracy", "learning_rate"]
    return read_table(path, "train", [], numbers)


def make_charts(history: pd.DataFrame) -> list[Chart]:
    """Lay out charts of the losses and of the validation accuracy."""
    history = history.set_index("epoch")
    losses = {"training": history["train_loss"], "validation": history["validation_loss"]}
    accuracy = {"validation": 100 * history["validation_accuracy"]}
    return [
        make_logarithmic_chart("Loss", "cross-entropy (nats), logarithmic", losses),
        make_chart("Validation accuracy", "accuracy (%)", accuracy, max_y=100),
    ]
