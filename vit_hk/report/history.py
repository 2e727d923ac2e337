"""results/history.csv, as a table and as charts."""

from pathlib import Path

import pandas as pd

from vit_hk.report.curves import Chart, draw_chart
from vit_hk.report.reading import read_table


def read_history(path: Path) -> pd.DataFrame:
    """A row an epoch.

    Raises:
      UserError: the file is missing or damaged.
    """
    losses = ["train_loss", "validation_loss"]
    return read_table(path, "train", [], ["epoch", *losses, "validation_accuracy"])


def draw_history(history: pd.DataFrame) -> list[Chart]:
    """Loss and validation accuracy over the epochs."""
    losses = {"training": history["train_loss"], "validation": history["validation_loss"]}
    accuracy = {"validation": 100 * history["validation_accuracy"]}
    return [
        draw_chart("Loss", "cross-entropy (nats)", history["epoch"], losses),
        draw_chart("Validation accuracy", "right predictions (%)", history["epoch"], accuracy, 100),
    ]
