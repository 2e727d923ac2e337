import numpy as np
import pytest

from vit_hk.data.inversion import border_range, looks_inverted

RANDOM = np.random.default_rng(0)


def digits(count: int, paper: int = 0, ink: int = 255) -> np.ndarray:
    """Return images of strokes on paper, uint8 [count, 28, 28, 1]."""
    images = np.full((count, 28, 28, 1), paper, np.uint8)
    images[:, 6:22, 12:16] = ink
    return images


def photos(count: int, channels: int = 1, bottom: int = 255) -> np.ndarray:
    """Return noisy gradients from a brightness of their own to another, as sky and ground have."""
    top = RANDOM.integers(0, 256, (count, 1, 1, 1))
    ramp = np.linspace(0, 1, 32).reshape(1, 32, 1, 1)
    smooth = top + ramp * (RANDOM.integers(0, bottom + 1, (count, 1, 1, 1)) - top)
    noisy = smooth + RANDOM.normal(0, 20, (count, 32, 32, channels))
    return noisy.clip(0, 255).astype(np.uint8)


DIGITS = border_range(digits(100))


def test_border_range_holds_98_percent_of_the_images():
    images = np.zeros((101, 3, 4, 1), np.uint8)
    images[:, :, :, 0] = 2 * np.arange(101).reshape(-1, 1, 1)
    images[:, 1, 1:3] = 255  # not of the border
    np.testing.assert_allclose(border_range(images), [2 / 255, 198 / 255], rtol=1e-6)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (2, 2), (4, 1)])
def test_small_images_are_all_border(shape):
    images = np.full((3, *shape, 2), 51, np.uint8)
    np.testing.assert_allclose(border_range(images), [0.2, 0.2])


@pytest.mark.parametrize("paper", [255, 240, 210])
def test_digits_on_paper_look_inverted(paper):
    assert looks_inverted(digits(3, paper, 0), DIGITS).all()


def test_digits_as_in_the_training_do_not_look_inverted():
    assert not looks_inverted(digits(3), DIGITS).any()
    assert not looks_inverted(digits(3, paper=40), DIGITS).any()


def test_training_on_white_paper_inverts_what_is_black():
    assert looks_inverted(digits(3), border_range(digits(9, 255, 0))).all()


def test_grey_border_is_neither():
    assert not looks_inverted(digits(3, paper=128), DIGITS).any()


def test_blank_paper_does_not_look_inverted():
    assert not looks_inverted(digits(1, 255, 255), DIGITS).any()
    assert not looks_inverted(digits(1, 255, 180), DIGITS).any()


def test_photos_among_digits_do_not_look_inverted():
    # A few are nearly white all around, as paper is.
    assert looks_inverted(photos(1000), DIGITS).mean() < 0.02


def test_strokes_may_touch_the_border():
    images = digits(1, 255, 0)
    images[:, :, 12:16] = 0  # 8 of the 108 pixels of the border
    assert looks_inverted(images, DIGITS).all()


def test_nothing_looks_inverted_to_a_model_of_photos():
    usual = border_range(photos(1000))
    for images in (photos(100), 255 - photos(100), digits(3), digits(3, 255, 0)):
        assert not looks_inverted(images, usual).any()


def test_colour_images_do_not_look_inverted():
    white = np.repeat(digits(3, 255, 0), 3, axis=-1)
    assert not looks_inverted(white, border_range(np.repeat(digits(9), 3, axis=-1))).any()
