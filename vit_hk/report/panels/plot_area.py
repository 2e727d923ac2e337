"""The plot area of an SVG."""

from typing import NamedTuple


class PlotArea(NamedTuple):
    """The rectangle between the axes of a plot, in the coordinates of its SVG."""

    left: float
    right: float
    top: float
    bottom: float

    def x(self, share: float) -> float:
        """Return the coordinate of a share of the width, from the left."""
        return round(self.left + share * (self.right - self.left), 1)

    def y(self, share: float) -> float:
        """Return the coordinate of a share of the height, from the bottom."""
        return round(self.bottom - share * (self.bottom - self.top), 1)
