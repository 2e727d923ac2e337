import numpy as np
import pandas as pd
import pytest

from vit_hk.compare.curves import make_charts
from vit_hk.report.charts import BOTTOM, LEFT, RIGHT, TOP, X_PADDING


def history(losses: list[float]) -> pd.DataFrame:
    epochs = np.arange(1, len(losses) + 1)
    return pd.DataFrame(
        {
            "epoch": epochs,
            "train_loss": losses,
            "validation_loss": losses,
            "validation_accuracy": epochs / 10,
        }
    )


def points(chart, run: str, images: str) -> list[tuple[float, float]]:
    (line,) = (line for line in chart.lines if line.name == f"{run} {images}")
    return line.points


def test_runs_of_different_lengths_share_both_axes():
    loss, accuracy = make_charts(history([1.0, 0.1, 0.01]), history([0.1]))
    # Equal ratios are equal distances on the logarithmic axis; the shorter run ends earlier.
    ends = LEFT + X_PADDING, RIGHT - X_PADDING
    middle = sum(ends) / 2, (BOTTOM + TOP) / 2
    expected = [(ends[0], TOP), middle, (ends[1], BOTTOM)]
    assert points(loss, "A", "training") == expected
    assert points(loss, "B", "validation") == [(ends[0], middle[1])]
    assert len(points(accuracy, "A", "validation")) == 3
    assert [tick.label for tick in loss.x_ticks] == ["1", "2", "3"]
    assert {"0.01", "0.1", "1"} <= {tick.label for tick in loss.y_ticks}


@pytest.mark.parametrize("losses", [[0.0], [0.0, 0.0], [0.5], [1e-9, 1e9, 0.0]], ids=str)
def test_any_losses_can_be_laid_out(losses):
    for chart in make_charts(history(losses), history([0.0])):
        for line in chart.lines:
            assert np.isfinite(line.points).all()
            assert all(TOP <= y <= BOTTOM for _, y in line.points)
