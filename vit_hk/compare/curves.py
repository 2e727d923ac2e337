"""Curves of two runs over each other."""

import pandas as pd

from vit_hk.report.charts import Chart, make_chart, make_logarithmic_chart


def make_charts(a: pd.DataFrame, b: pd.DataFrame) -> list[Chart]:
    """Lay out the losses and the validation accuracy of two histories.

    Curves have names such as "A training".
    """
    runs = {"A": a.set_index("epoch"), "B": b.set_index("epoch")}
    losses, accuracy = {}, {}
    for run, history in runs.items():
        losses[f"{run} training"] = history["train_loss"]
        losses[f"{run} validation"] = history["validation_loss"]
        accuracy[f"{run} validation"] = 100 * history["validation_accuracy"]
    return [
        make_logarithmic_chart("Loss", "cross-entropy (nats), logarithmic", losses),
        make_chart("Validation accuracy", "accuracy (%)", accuracy, max_y=100),
    ]
