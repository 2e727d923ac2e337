from collections.abc import Callable, Iterable

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox


@pytest.fixture
def boxes() -> Callable[[Figure, Iterable[Text]], list[Bbox]]:
    """Return the bounding boxes of texts on a drawn figure; assert that all lie inside of it."""

    def measure(figure: Figure, texts: Iterable[Text]) -> list[Bbox]:
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        renderer = canvas.get_renderer()
        found = [text.get_window_extent(renderer) for text in texts if text.get_text()]
        width, height = figure.bbox.size
        for box in found:
            assert min(box.x0, box.y0) >= -1
            assert box.x1 <= width + 1
            assert box.y1 <= height + 1
        return found

    return measure


@pytest.fixture
def assert_apart() -> Callable[[list[Bbox]], None]:
    """Assert that no two bounding boxes overlap."""

    def check(boxes: list[Bbox]) -> None:
        for number, box in enumerate(boxes):
            assert not any(box.overlaps(other) for other in boxes[:number])

    return check
