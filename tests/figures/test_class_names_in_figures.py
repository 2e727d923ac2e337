"""Every figure that shows class names, with names of any length, script and punctuation."""

import numpy as np
import pytest
from hostile_names import HOSTILE
from matplotlib.figure import Figure
from matplotlib.text import Text
from named_figures import NAMED_FIGURES

from vit_hk.figures.fonts import choose_fonts

# Lengths, scripts and punctuation are mixed, since some figures show only the first names.
NAMES = [
    "כלב $x^2$ الراعي الألماني الكبير", "W" * 40, "n02093256-Staffordshire_bullterrier_puppy",
    "犬" * 40, "猫 犬 猫", r"\frac{1}{0} $5 100 % of <b>&amp;", "7",
    "猫犬" * 6, "x" * 200, "Wire-haired fox terrier of the kennel in York",
    "{0} %s </script> {{ x }}", "كلب", "犬", "Chesapeake Bay retriever",
]  # fmt: skip
HALVES = NAMES[:7], NAMES[7:]
TALL, WIDE = (64, 16), (16, 64)
# With images of any aspect. The others show square ones.
WITH_SHAPE = ["sheet", "overview", "class_maps", "right_wrong", "snapshots"]
SQUARE_ONLY = [name for name in NAMED_FIGURES if name not in WITH_SHAPE]


def figures_of(figure: Figure) -> list:
    return [figure] + [part for inner in figure.subfigs for part in figures_of(inner)]


def texts_of(figure: Figure) -> list[Text]:
    """Return all texts that the figure shows."""
    texts = [part._suptitle for part in figures_of(figure) if part._suptitle is not None]
    for axes in figure.axes:
        texts += [axes.title, *axes.texts]
        if axes.axison:
            texts += [axes.xaxis.label, axes.yaxis.label]
            texts += axes.get_xticklabels() + axes.get_yticklabels()
        if axes.get_legend():
            texts += axes.get_legend().get_texts()
    return texts


def picture_areas(figure: Figure) -> list[float]:
    """Return the area of each picture of a figure with a computed layout, in square inches."""
    boxes = [axes.get_window_extent() for axes in figure.axes if axes.images]
    return [box.width * box.height / figure.dpi**2 for box in boxes]


@pytest.fixture(autouse=True)
def font(fonts, make_font) -> None:
    """One font has two ideographs; all others are those of matplotlib."""
    fonts.append(make_font("猫犬"))


def check_texts(name: str, names: list[str], figure: Figure, boxes, assert_apart) -> None:
    """Assert that no text is cut off or overlaps another, and that all names are literal."""
    texts = texts_of(figure)
    assert_apart(boxes(figure, texts))
    assert not any(text.get_parse_math() for text in texts)
    shown = [squeeze(text.get_text()) for text in texts]
    for label in names[: 2 if name == "sheet" else 3]:
        assert any(squeeze(label)[:6] in text for text in shown), (label, shown)


def squeeze(text: str) -> str:
    """Leave out what line breaks may change, and the marks of right-to-left names."""
    return "".join(letter for letter in text if letter not in "\u2068\u2069 \n")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", NAMED_FIGURES)
def test_names_are_whole_apart_and_literal_and_leave_the_pictures_their_size(
    name, boxes, assert_apart
):
    names = choose_fonts(HALVES[0])
    figure = NAMED_FIGURES[name](names)
    check_texts(name, names, figure, boxes, assert_apart)
    with_numbers = NAMED_FIGURES[name]([str(n) for n in range(len(names))])
    with_numbers.draw_without_rendering()
    usual = picture_areas(with_numbers)
    np.testing.assert_array_less(0.75 * np.array(usual), picture_areas(figure))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("name", "options"),
    [(name, (TALL,)) for name in WITH_SHAPE] + [(name, ()) for name in SQUARE_ONLY],
)
def test_other_names_are_so_too_beside_tall_images(name, options, boxes, assert_apart):
    names = choose_fonts(HALVES[1])
    figure = NAMED_FIGURES[name](names, *options)
    check_texts(name, names, figure, boxes, assert_apart)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", WITH_SHAPE)
def test_long_names_are_so_too_beside_wide_images(name, boxes, assert_apart):
    names = choose_fonts(NAMES[1:5])
    figure = NAMED_FIGURES[name](names, WIDE)
    check_texts(name, names, figure, boxes, assert_apart)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", SQUARE_ONLY)
def test_hostile_names_are_literal(name):
    names = choose_fonts(HOSTILE)
    texts = texts_of(NAMED_FIGURES[name](names))
    assert not any(text.get_parse_math() for text in texts)
    shown = [squeeze(text.get_text()) for text in texts]
    for label in names[:12]:  # of mistakes, there are twelve
        assert any(squeeze(label) in text for text in shown), (label, shown)


@pytest.mark.parametrize("name", ["confusion", "per_class"])
def test_of_many_classes_as_many_are_named_as_fit(name, boxes, assert_apart):
    names = [f"class {n} with a long name" for n in range(400)]
    figure = NAMED_FIGURES[name](names)
    axes = figure.axes[0]
    labels = axes.get_xticklabels()
    assert_apart(boxes(figure, labels))
    assert len(labels) > 60
    for label, position in zip(labels, axes.get_xticks(), strict=True):
        assert label.get_text() == names[int(position)]
    assert max(figure.get_size_inches()) < 45
