import numpy as np
import pytest
from matplotlib.figure import Figure

from vit_hk.figures.mistakes import draw_mistakes


def mistakes(count: int, channels: int = 1) -> tuple[Figure, np.ndarray]:
    images = np.random.default_rng(0).integers(0, 256, (count, 6, 9, channels), dtype=np.uint8)
    figure = draw_mistakes(
        images,
        actual=[f"Ankle boot {n}" for n in range(count)],
        predicted=[f"T-shirt/top {n}" for n in range(count)],
        confidence=np.linspace(0.99, 0.5, count),
        indices=np.arange(count) * 100,
    )
    return figure, images


@pytest.mark.parametrize(("count", "channels"), [(1, 1), (6, 3), (7, 2), (24, 3)])
def test_title_of_each_mistake_states_both_classes(count, channels):
    figure, images = mistakes(count, channels)
    shown = [axes for axes in figure.axes if axes.images]
    assert len(shown) == count
    for n, (axes, image) in enumerate(zip(shown, images, strict=True)):
        title = axes.get_title()
        assert f"true Ankle boot {n}\n" in title
        assert f"predicted T-shirt/top {n}" in title
        assert f"test image {100 * n}" in title
        assert f"{100 * np.linspace(0.99, 0.5, count)[n]:.0f} %" in title
        pixels = np.asarray(axes.images[0].get_array())
        if channels == 3:
            np.testing.assert_array_equal(pixels, image)


def test_titles_of_mistakes_do_not_overlap(boxes, assert_apart):
    figure, _ = mistakes(12)
    assert_apart(boxes(figure, [axes.title for axes in figure.axes if axes.images]))


def test_without_mistakes_the_title_says_so():
    figure, _ = mistakes(0)
    assert figure.get_suptitle() == "No mistakes on the test images"
    assert not any(axes.images for axes in figure.axes)
