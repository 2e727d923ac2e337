"""Figures as PNG files; the same figure gives the same bytes."""

from pathlib import Path

from matplotlib.figure import Figure, FigureBase
from matplotlib.transforms import Bbox, BboxBase

from vit_hk.atomic import replacing

DPI = 100


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure as a PNG file; no display is needed.

    Raises:
      UserError: the file system refuses.
    """
    figure.set_dpi(DPI)
    figure.draw_without_rendering()  # computes the layout
    figure.set_layout_engine("none")
    _round_layout(figure)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=DPI, format="png")


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
