"""The figures of a run, against the arrays and tables that they are drawn from."""

from pathlib import Path

import numpy as np
import pytest
from hostile_names import HOSTILE
from PIL import Image
from synthetic_results import write_results

from stages import paths
from vit_hk.data.dataset import Dataset, load_dataset
from vit_hk.params import Config, load_config
from vit_hk.report.figures import (
    draw_figures,
    mistakes_figure,
    snapshot_figures,
    snapshots_figure,
)
from vit_hk.report.predictions import Predictions
from vit_hk.report.snapshots import read_snapshots

NAMES = ["left", "middle", "right"]


@pytest.fixture
def results(tree, tmp_path) -> tuple[Path, Config, Dataset]:
    folder = write_results(tmp_path, tree)
    return folder, load_config(folder / "params.yaml"), load_dataset(folder / paths.DATASET)


def test_report_writes_each_figure_whatever_the_names_of_classes(make_report, tree):
    folder = make_report(tree, draw_figures=True, class_names=tuple(HOSTILE)) / paths.FIGURES
    names = {
        "confusion", "corruptions", "curves", "faithfulness", "mistakes", "per_class", "snapshots",
    }  # fmt: skip
    assert {path.name for path in folder.glob("*.png")} == {f"{name}.png" for name in names}
    # Numbered by epoch: DVC's extension for VS Code shows such a folder with a slider.
    frames = {path.relative_to(folder).as_posix() for path in folder.glob("*/*")}
    assert frames == {"snapshots/1.png", "snapshots/2.png"}
    for path in folder.rglob("*.png"):
        with Image.open(path) as image:
            image.load()
            assert len(image.convert("RGB").getcolors(2**24)) > 20


def test_snapshots_show_the_last_layer_averaged_over_heads(results):
    folder, config, dataset = results
    snapshots = read_snapshots(folder / paths.SNAPSHOTS, config.model, dataset)
    names = list(dataset.class_names)
    grid = np.array(snapshots_figure(snapshots, config.model, names).axes[:6]).reshape(2, 3)
    for image in range(2):
        assert grid[image, 0].get_title() == f"true {names[dataset.y_train[image]]}"
        for step in range(2):
            axes = grid[image, step + 1]
            expected = snapshots.attention[step, -1, image].mean(axis=0).reshape(2, 3)
            np.testing.assert_allclose(axes.images[-1].get_array(), expected, rtol=1e-6)
            probabilities = snapshots.probabilities[step, image]
            guess = f"{names[probabilities.argmax()]} ({100 * probabilities.max():.0f} %)"
            assert axes.get_title().endswith(guess)


def test_frames_of_the_snapshots_show_one_epoch_each_on_one_scale(results):
    folder, config, dataset = results
    snapshots = read_snapshots(folder / paths.SNAPSHOTS, config.model, dataset)
    figures = snapshot_figures(snapshots, config.model, list(dataset.class_names))
    assert list(figures) == [1, 2]
    last_layer = snapshots.attention[:, -1].mean(axis=2).reshape(2, 2, 2, 3)
    for figure, expected in zip(figures.values(), last_layer, strict=True):
        tiles = [i for axes in figure.axes for i in axes.images if i.get_array().ndim == 2]
        for tile, weights in zip(tiles, expected, strict=True):
            np.testing.assert_allclose(tile.get_array(), weights, rtol=1e-6)
            assert tile.norm.vmax == last_layer.max()


def titles(figure) -> list[str]:
    return [axes.get_title() for axes in figure.axes if axes.images]


def test_mistakes_are_sorted_by_confidence(results):
    _, _, dataset = results
    classes = dataset.y_test.copy()
    classes[[3, 10, 20]] = (classes[[3, 10, 20]] + 1) % 3
    confidence = np.full(len(classes), 0.99)
    confidence[[3, 10, 20]] = 0.5, 0.75, 0.75
    # Test image n has class n modulo 3; equal confidences keep the order of the test set.
    assert titles(mistakes_figure(dataset, Predictions(classes, confidence), NAMES)) == [
        "true middle\npredicted right (75 %)\ntest image 10",
        "true right\npredicted left (75 %)\ntest image 20",
        "true left\npredicted middle (50 %)\ntest image 3",
    ]


def test_at_most_24_mistakes_are_drawn(results):
    _, _, dataset = results
    wrong = Predictions((dataset.y_test + 1) % 3, np.linspace(1, 0.5, len(dataset.y_test)))
    shown = titles(mistakes_figure(dataset, wrong, NAMES))
    assert [int(title.rsplit(" ", 1)[1]) for title in shown] == list(range(24))


@pytest.mark.parametrize(("share", "count"), [(0.2, 12), (0.001, 1), (1.0, 60)])
def test_faithfulness_figure_states_the_number_of_images(
    results, tmp_path, monkeypatch, share, count
):
    folder, config, dataset = results
    evaluate = config.evaluate.model_copy(update={"faithfulness_share": share})
    saved = {}
    monkeypatch.setattr("vit_hk.report.figures.draw_faithfulness", lambda _, number: number)
    for name in ("draw_curves", "draw_per_class", "corruptions_figure"):
        monkeypatch.setattr(f"vit_hk.report.figures.{name}", lambda *_: None)
    monkeypatch.setattr(
        "vit_hk.report.figures.save_figure", lambda figure, path: saved.update({path.name: figure})
    )
    draw_figures(
        tmp_path,
        config.model_copy(update={"evaluate": evaluate}),
        dataset,
        NAMES,
        history=None,
        snapshots=read_snapshots(folder / paths.SNAPSHOTS, config.model, dataset),
        predictions=Predictions(dataset.y_test, np.ones(len(dataset.y_test))),
        per_class=None,
        faithfulness=None,
        corruptions=None,
    )
    assert saved["faithfulness.png"] == count
