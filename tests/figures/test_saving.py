import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from named_figures import ENDS
from PIL import Image

from vit_hk.figures.confusion import draw_confusion
from vit_hk.figures.curves import draw_curves
from vit_hk.figures.mistakes import draw_mistakes
from vit_hk.figures.overview import draw_overview
from vit_hk.figures.per_class import draw_per_class
from vit_hk.figures.saving import remove_other_numbers, save_figure
from vit_hk.figures.sheet import draw_sheet

random = np.random.default_rng(0)
IMAGES = random.integers(0, 256, (2, 8, 12, 1), dtype=np.uint8)
MAPS = random.random((2, 2, 2, 3))
HISTORY = pd.DataFrame(
    {"epoch": [1, 2], "train_loss": [2.0, 1.0], "validation_loss": [2.0, 1.5],
     "validation_accuracy": [0.5, 0.6], "learning_rate": [0.1, 0.0]}
)  # fmt: skip
SCORES = pd.DataFrame(
    {f"{name}{end}": [0.5, 1.0] for name in ("precision", "recall", "f1") for end in ENDS}
)
FIGURES: dict[str, Callable[[], Figure]] = {
    "sheet": lambda: draw_sheet(
        IMAGES[0], MAPS, index=5, actual="a", predicted="b", probability=0.9,
        query_name="the class token", num_tokens=17,
    ),
    "overview": lambda: draw_overview(IMAGES, MAPS[0], [("a", "a"), ("a", "b")], "the class token"),
    "curves": lambda: draw_curves(HISTORY),
    "confusion": lambda: draw_confusion(np.array([[3, 1], [0, 2]]), ["a", "b"]),
    "per class": lambda: draw_per_class(SCORES, ["a", "b"]),
    "mistakes": lambda: draw_mistakes(
        IMAGES, actual=["a", "b"], predicted=["b", "a"], confidence=np.array([0.9, 0.8]),
        indices=np.array([3, 4]),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FIGURES)
def test_same_figure_gives_the_same_bytes_of_a_png_that_is_not_blank(tmp_path, name):
    save_figure(FIGURES[name](), tmp_path / "a.png")
    save_figure(FIGURES[name](), tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with Image.open(tmp_path / "a.png") as image:
        image.load()
        assert image.format == "PNG"
        assert len(image.convert("RGB").getcolors(2**24)) > 20


def test_neither_display_nor_home_folder_is_needed(tmp_path, project):
    # As in a container: an environment with PATH and nothing else.
    code = (
        "import sys, numpy as np\n"
        "from vit_hk.figures.sheet import draw_sheet\n"
        "from vit_hk.figures.confusion import draw_confusion\n"
        "from vit_hk.figures.saving import save_figure\n"
        "image, maps = np.zeros((4, 4, 1), np.uint8), np.ones((1, 1, 2, 2))\n"
        "sheet = draw_sheet(image, maps, index=0, actual='a', predicted='b', probability=0.9,"
        " query_name='it', num_tokens=5)\n"
        "save_figure(sheet, sys.argv[1])\n"
        "save_figure(draw_confusion(np.eye(2, dtype=int), ['a', 'b']), sys.argv[2])\n"
        "assert 'jax' not in sys.modules\n"
    )
    paths = [str(tmp_path / "a.png"), str(tmp_path / "b.png")]
    run = subprocess.run(
        [sys.executable, "-c", code, *paths],
        cwd=project, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    for path in paths:
        with Image.open(path) as image:
            image.load()


def test_failed_save_keeps_the_earlier_file(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(b"old")

    def fail(*_: object, **__: object) -> None:
        raise ValueError("no such font")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(ValueError, match="no such font"):
        save_figure(Figure(), path)
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]


def test_last_digits_of_the_layout_do_not_change_the_bytes(tmp_path):
    contents = set()
    for error in (-1e-13, 0.0, 1e-13):  # as a layout can differ from run to run
        figure = Figure((12, 6.7))
        (below,) = figure.subfigures(1, 1, squeeze=False).ravel()
        below._redo_transform_rel_fig(Bbox([[error, 0], [1 + error, 1]]))
        axes = below.add_axes((0.15, 0.6, 0.7, 0.2))
        below.colorbar(ScalarMappable(Normalize(0, 1), "viridis"), axes, orientation="horizontal")
        save_figure(figure, tmp_path / "bar.png")
        contents.add((tmp_path / "bar.png").read_bytes())
    assert len(contents) == 1


def test_figures_of_an_earlier_run_are_removed_and_nothing_else(tmp_path):
    for name in ("01.png", "02.png", "12.png", "overview.png", "12.txt", "my 3.png"):
        (tmp_path / name).touch()
    remove_other_numbers(tmp_path, ["01.png", "02.png"])
    left = {"01.png", "02.png", "overview.png", "12.txt", "my 3.png"}
    assert {path.name for path in tmp_path.iterdir()} == left
