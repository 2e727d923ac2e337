"""Figures as PNG files; the same figure gives the same bytes."""

from pathlib import Path

from matplotlib.figure import Figure

from vit_hk.atomic import replacing

DPI = 100


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure as a PNG file; no display is needed.

    Raises:
      UserError: the file system refuses.
    """
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=DPI, format="png")
