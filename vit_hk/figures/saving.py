"""Figures to PNG files, the same bytes for the same figure."""

from pathlib import Path

from matplotlib.figure import Figure

from vit_hk.atomic import replacing

DPI = 100


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure as PNG; needs no display."""
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=DPI, format="png")
