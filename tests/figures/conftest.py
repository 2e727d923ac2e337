from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import matplotlib
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from vit_hk.figures.text import _width_in_fonts


@pytest.fixture
def boxes() -> Callable[[Figure, Iterable[Text]], list[Bbox]]:
    """Return the bounding boxes of the texts of a figure; assert that all lie inside of it."""

    def measure(figure: Figure, texts: Iterable[Text]) -> list[Bbox]:
        figure.draw_without_rendering()  # computes the layout
        found = [text.get_window_extent() for text in texts if text.get_text()]
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


@pytest.fixture(autouse=True)
def _same_fonts_afterwards() -> Iterator[None]:
    _width_in_fonts.cache_clear()  # fonts of several tests have one name
    with matplotlib.rc_context():
        yield


@pytest.fixture
def fonts(monkeypatch) -> list[str]:
    """Stand for the font files of this machine, besides those that come with matplotlib."""
    own = Path(matplotlib.get_data_path())
    entries = font_manager.fontManager.ttflist
    files: list[str] = []
    monkeypatch.setattr(
        font_manager.fontManager,
        "ttflist",
        [entry for entry in entries if own in Path(entry.fname).parents],
    )
    monkeypatch.setattr("vit_hk.figures.fonts.findSystemFonts", lambda: list(files))
    return files


@pytest.fixture
def make_font(tmp_path) -> Callable[..., str]:
    """Write a font whose letters are bars of different heights, and return its path."""

    def make(letters: str, family: str = "Bars Sans", style: str = "Regular", **options) -> str:
        glyphs = [".notdef", *(f"letter{number}" for number in range(len(letters)))]
        builder = FontBuilder(1000)
        builder.setupGlyphOrder(glyphs)
        builder.setupCharacterMap({ord(c): g for c, g in zip(letters, glyphs[1:], strict=True)})
        outlines = {}
        for number, glyph in enumerate(glyphs):
            pen = TTGlyphPen(None)
            if options.get("outlines", True):
                height = 700 * number // len(letters) + 100
                pen.moveTo((100, 0))
                for point in ((100, height), (900, height), (900, 0)):
                    pen.lineTo(point)
                pen.closePath()
            outlines[glyph] = pen.glyph()
        builder.setupGlyf(outlines)
        builder.setupHorizontalMetrics(dict.fromkeys(glyphs, (1000, 100)))
        builder.setupHorizontalHeader(ascent=880, descent=-120)
        builder.setupNameTable({"familyName": family, "styleName": style})
        builder.setupOS2(sTypoAscender=880, usWeightClass=700 if style == "Bold" else 400)
        builder.setupPost()
        path = tmp_path / f"{family}-{style}.ttf"
        builder.save(path)
        return str(path)

    return make
