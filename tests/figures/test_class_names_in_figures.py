"""Every figure that shows class names, with names of any length, script and punctuation."""

import numpy as np
import pytest
from hostile_names import NAMES as HOSTILE_NAMES
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.text import Text
from mutations import mutations
from named_figures import NAMED_FIGURES

from vit_hk.figures.fonts import prepare_names

DOGS = [
    "Staffordshire bullterrier", "Wire-haired fox terrier", "Chesapeake Bay retriever",
    "Bernese mountain dog", "Old English sheepdog", "Norwegian elkhound", "German shepherd dog",
    "Rhodesian ridgeback", "Italian greyhound", "Irish water spaniel",
]  # fmt: skip
NAMES = {
    "breeds": DOGS,
    "40 characters": [
        *(f"{n} Wire-haired fox terrier of the kennel in York"[:40] for n in range(4)),
        *(f"n0209325{n}-Staffordshire_bullterrier_puppy" for n in range(4)),
        *(f"{n}{'W' * 39}" for n in range(4)),
        "x" * 200,
    ],
    "ideographs": ["猫", "犬", "猫犬" * 6, "犬猫犬" * 7, "猫" * 40, "犬" * 40, "猫 犬 猫"],
    "right to left": [f"{'كلب الراعي الألماني الكبير'[: 9 + 2 * n]}" for n in range(7)],
}  # fmt: skip


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
    """Return the area of each picture, in square inches."""
    figure.draw_without_rendering()
    boxes = [axes.get_window_extent() for axes in figure.axes if axes.images]
    return [box.width * box.height / figure.dpi**2 for box in boxes]


@pytest.fixture
def names(request, fonts, make_font) -> list[str]:
    fonts.append(make_font("猫犬"))
    return prepare_names(NAMES[request.param])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("names", NAMES, indirect=True)
@pytest.mark.parametrize("name", NAMED_FIGURES)
def test_no_text_is_cut_off_or_overlaps_another(name, names, boxes, assert_apart):
    figure = NAMED_FIGURES[name](names)
    assert_apart(boxes(figure, texts_of(figure)))


@pytest.mark.parametrize("names", ["40 characters"], indirect=True)
@pytest.mark.parametrize("shape", [(16, 64), (64, 16)], ids=str)
@pytest.mark.parametrize("name", ["sheet", "overview", "class_maps", "right_wrong", "snapshots"])
def test_texts_fit_beside_images_of_any_aspect(name, shape, names, boxes, assert_apart):
    figure = NAMED_FIGURES[name](names, shape)
    assert_apart(boxes(figure, texts_of(figure)))


@pytest.mark.parametrize("names", ["40 characters"], indirect=True)
@pytest.mark.parametrize("name", NAMED_FIGURES)
def test_long_names_leave_the_pictures_their_size(name, names):
    usual = picture_areas(NAMED_FIGURES[name]([str(n) for n in range(len(names))]))
    areas = picture_areas(NAMED_FIGURES[name](names))
    np.testing.assert_array_less(0.75 * np.array(usual), areas)


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


def squeeze(text: str) -> str:
    """Leave out what line breaks may change, and the marks of right-to-left names."""
    return "".join(letter for letter in text if letter not in "\u2068\u2069 \n")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", NAMED_FIGURES)
@mutations(2)
@given(names=st.lists(HOSTILE_NAMES, min_size=6, max_size=6, unique=True))
def test_names_are_shown_literally(name, names):
    figure = NAMED_FIGURES[name](names)
    figure.draw_without_rendering()
    texts = texts_of(figure)
    assert not any(text.get_parse_math() for text in texts)
    shown = [squeeze(text.get_text()) for text in texts]
    for label in names[: 2 if name == "sheet" else 3]:
        assert any(squeeze(label)[:15] in text for text in shown), (label, shown)
