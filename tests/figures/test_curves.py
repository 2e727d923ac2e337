import numpy as np
import pandas as pd
import pytest

from vit_hk.figures.curves import draw_curves


def history(epochs: int) -> pd.DataFrame:
    numbers = np.arange(1, epochs + 1)
    return pd.DataFrame(
        {
            "epoch": numbers,
            "train_loss": 2 / numbers,
            "validation_loss": 3 / numbers,
            "validation_accuracy": 1 - 0.5 / numbers,
            "learning_rate": 0.01 / numbers,
        }
    )


def test_lines_are_the_columns_of_the_history():
    loss, accuracy, rate = draw_curves(history(4)).axes
    training, validation = loss.lines
    assert [text.get_text() for text in loss.get_legend().get_texts()] == ["training", "validation"]
    np.testing.assert_allclose(training.get_ydata(), [2, 1, 2 / 3, 0.5])
    np.testing.assert_allclose(validation.get_ydata(), [3, 1.5, 1, 0.75])
    np.testing.assert_allclose(accuracy.lines[0].get_ydata(), [50, 75, 250 / 3, 87.5])
    np.testing.assert_allclose(rate.lines[0].get_ydata(), [0.01, 0.005, 0.01 / 3, 0.0025])
    for line in (training, validation, accuracy.lines[0], rate.lines[0]):
        np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3, 4])


def test_small_losses_can_be_told_apart():
    table = history(4)
    table["train_loss"] = [1.5, 0.3, 0.06, 0.0]
    axes = draw_curves(table).axes[0]
    axes.figure.draw_without_rendering()
    assert axes.get_yscale() == "log"
    shown = {text.get_text() for text in axes.get_yticklabels()}
    assert {"0.1", "0.2", "0.5", "1", "2"} <= shown
    assert not any("$" in text for text in shown)


def test_title_states_the_final_accuracy():
    assert "87.50 %" in draw_curves(history(4)).axes[1].get_title()


def test_axes_are_labelled_with_units():
    loss, accuracy, rate = draw_curves(history(2)).axes
    assert "nats" in loss.get_ylabel()
    assert "%" in accuracy.get_ylabel()
    assert {axes.get_xlabel() for axes in (loss, accuracy, rate)} == {"epoch"}
    assert rate.get_ylabel()


@pytest.mark.parametrize("epochs", [1, 2, 10, 300])
def test_epoch_ticks_are_integers(epochs):
    figure = draw_curves(history(epochs))
    for axes in figure.axes:
        ticks = axes.get_xticks()
        np.testing.assert_array_equal(ticks, np.round(ticks))


@pytest.mark.parametrize("epochs", [1, 10])
def test_titles_fit_side_by_side(epochs, boxes, assert_apart):
    figure = draw_curves(history(epochs))
    assert_apart(boxes(figure, [axes.title for axes in figure.axes]))
