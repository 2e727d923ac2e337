import numpy as np
import pytest

from vit_hk.figures.outline import image_outline


def disk(side: int, radius: float) -> np.ndarray:
    """Return the share of a disk in the middle of a square image, with a smooth edge."""
    y, x = np.indices((side, side)) - (side - 1) / 2
    return np.clip(radius - np.hypot(x, y) + 0.5, 0, 1)


@pytest.mark.parametrize(("side", "radius"), [(28, 8), (96, 30), (600, 190)])
@pytest.mark.parametrize("colors", [([0], [255]), ([200, 200, 40], [30, 30, 200])], ids=str)
def test_outline_of_a_disk_is_its_circle(side, radius, colors):
    background, foreground = np.array(colors)
    share = disk(side, radius)[..., None]
    image = (background + (foreground - background) * share).round().astype(np.uint8)
    (line,) = image_outline(image)
    distance = np.hypot(*(line - (side - 1) / 2).T)
    # The blur moves a curved edge inwards a little.
    np.testing.assert_allclose(distance, radius, atol=0.3 + side / 100)
    np.testing.assert_allclose(line[0], line[-1], atol=1e-6)  # closed


def test_x_comes_first_and_pixels_count_from_their_middle():
    image = np.zeros((20, 40, 1), np.uint8)
    image[:, 10:] = 255
    (line,) = image_outline(image)
    np.testing.assert_allclose(line[:, 0], 9.5, atol=1e-3)
    assert (line[:, 1].min(), line[:, 1].max()) == (0, 19)


def test_weak_edges_beside_a_strong_one_are_left_out():
    image = np.zeros((40, 40, 1), np.uint8)
    image[:, 10:] = 8
    image[:, 30:] = 255
    (line,) = image_outline(image)
    np.testing.assert_allclose(line[:, 0], 29.5, atol=0.1)


@pytest.mark.parametrize("shape", [(8, 8, 1), (8, 8, 3), (1, 9, 1), (9, 1, 2), (1, 1, 1)], ids=str)
@pytest.mark.parametrize("grey", [0, 90, 255])
def test_an_image_of_one_colour_has_no_outline(shape, grey):
    assert image_outline(np.full(shape, grey, np.uint8)) == []


def test_texture_is_blurred_away_and_the_shape_remains():
    noise = np.random.default_rng(0).normal(0, 25, (96, 96, 1))
    image = (60 + 130 * disk(96, 30)[..., None] + noise).clip(0, 255).astype(np.uint8)
    lines = image_outline(image)
    assert sum(np.hypot(*np.diff(line, axis=0).T).sum() for line in lines) < 7 * 96
    longest = max(lines, key=len)
    distance = np.hypot(*(longest - 47.5).T)
    np.testing.assert_allclose(distance, 30, atol=4)
