"""Figures as PNG files; the same figure gives the same bytes."""

from collections.abc import Collection
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, FigureBase
from matplotlib.transforms import Bbox, BboxBase
from PIL import Image

from vit_hk.atomic import replacing

DPI = 100


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure as a PNG file; no display is needed.

    Raises:
      UserError: the file system refuses.
    """
    figure.set_dpi(DPI)
    layout = figure.get_layout_engine()
    if layout is not None:  # computed once: with an engine, drawing would compute it again
        layout.execute(figure)
        figure.set_layout_engine("none")
    _round_layout(figure)
    with replacing(path) as temporary:
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        # Figures are opaque: without the fourth channel, and compressed well, more of them fit into
        # the report.
        pixels = np.asarray(canvas.buffer_rgba())[..., :3]
        Image.fromarray(pixels).save(temporary, "PNG", compress_level=9, dpi=(DPI, DPI))


def remove_other_numbers(folder: Path, drawn: Collection[str]) -> None:
    """Remove the numbered figures of an earlier run, such as 05.png, that this one has not drawn.

    Args:
      folder: the folder of the figures; what has another name in it stays.
      drawn: the names of the figures that this run has drawn.
    """
    for path in folder.glob("*.png"):
        if path.stem.isdecimal() and path.name not in drawn:
            path.unlink()


def repeat_layout(figure: Figure) -> None:
    """Run the layout engine of a figure three times; `save_figure` runs it once more."""
    layout = figure.get_layout_engine()
    for _ in range(3):
        layout.execute(figure)  # type: ignore[union-attr]


def _round_layout(figure: FigureBase) -> None:
    """Round the positions of subfigures and axes in a figure to 9 digits.

    The solver of matplotlib's layout orders its variables by their addresses in memory, so the last
    digits differ from run to run, and an edge in the middle of a pixel falls to either side.
    """
    for axes in figure.axes:  # type: ignore[union-attr]
        axes.set_position(_round(axes.get_position(original=True)))
    for part in figure.subfigs:
        part._redo_transform_rel_fig(_round(part.bbox_relative))  # type: ignore[attr-defined]
        _round_layout(part)


def _round(box: BboxBase) -> Bbox:
    return Bbox(box.get_points().round(9))
