"""A figure of the training curves."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from vit_hk.figures.colors import BLUE, ORANGE


def draw_curves(history: pd.DataFrame) -> Figure:
    """Draw loss, validation accuracy and learning rate over the epochs.

    The axis of the loss is logarithmic, so that late epochs can be told apart.

    Args:
      history: one row for each epoch; columns epoch, train_loss, validation_loss,
        validation_accuracy and learning_rate.
    """
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    loss, accuracy, rate = figure.subplots(1, 3)
    epochs = history["epoch"]
    loss.plot(epochs, history["train_loss"], "o-", color=BLUE, label="training")
    loss.plot(epochs, history["validation_loss"], "s--", color=ORANGE, label="validation")
    loss.legend()
    _label_axes(loss, "Loss", "cross-entropy (nats), logarithmic")
    loss.set_yscale("log", nonpositive="clip")
    loss.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    loss.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    loss.yaxis.set_minor_locator(NullLocator())
    accuracy.plot(epochs, 100 * history["validation_accuracy"], "s--", color=ORANGE)
    final = 100 * history["validation_accuracy"].iloc[-1]
    _label_axes(accuracy, f"Validation accuracy (final: {final:.2f} %)", "accuracy (%)")
    rate.plot(epochs, history["learning_rate"], "o-", color="0.35")
    _label_axes(rate, "Learning rate", "learning rate of the last step")
    return figure


def _label_axes(axes: Axes, title: str, unit: str) -> None:
    axes.set(title=title, xlabel="epoch", ylabel=unit)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(alpha=0.3)
