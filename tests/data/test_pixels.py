import struct

import numpy as np
import pytest
from PIL import Image

from vit_hk.data.pixels import to_pixels
from vit_hk.errors import UserError
from vit_hk.params import Preparation

GREY = (2, 3, 1)
GREY_PREPARATION = Preparation(height=2, width=3, channels=1, resize="stretch", background=0)
COLOUR = (2, 3, 3)
COLOUR_PREPARATION = Preparation(height=2, width=3, channels=3, resize="stretch", background=0)


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 1), (1, 2, 3), (1, 2, 3, 1)])
def test_one_grey_image_in_any_shape(shape):
    pixels = np.arange(6, dtype=np.uint8)
    found = to_pixels(pixels.reshape(shape), GREY, GREY_PREPARATION).pixels
    np.testing.assert_array_equal(found, pixels.reshape(1, 2, 3, 1))


@pytest.mark.parametrize("shape", [(4, 2, 3), (4, 2, 3, 1)])
def test_grey_images(shape):
    pixels = np.arange(24, dtype=np.uint8)
    found = to_pixels(pixels.reshape(shape), GREY, GREY_PREPARATION).pixels
    np.testing.assert_array_equal(found, pixels.reshape(4, 2, 3, 1))


@pytest.mark.parametrize("shape", [(2, 3, 3), (1, 2, 3, 3)])
def test_one_colour_image(shape):
    pixels = np.arange(18, dtype=np.uint8)
    found = to_pixels(pixels.reshape(shape), COLOUR, COLOUR_PREPARATION).pixels
    np.testing.assert_array_equal(found, pixels.reshape(1, 2, 3, 3))


def test_arrays_are_not_copied():
    pixels = np.zeros((5, 2, 3, 1), np.uint8)
    assert all(np.shares_memory(found, pixels) for found in to_pixels(pixels, GREY, None))


@pytest.mark.parametrize("modes", ["L", "LLL", ["L", "LA", "L"]])
def test_images_are_held_twice_only_where_one_shows_a_background(modes):
    images = [Image.new(mode, (3, 2), (10, 0)[: len(mode)]) for mode in modes]
    found = to_pixels(images, GREY, GREY_PREPARATION)
    assert found.pixels[:, 0, 0, 0].tolist() == [0 if mode == "LA" else 10 for mode in modes]
    assert (found.to_invert is found.pixels) == ("LA" not in modes)
    assert found.to_invert[:, 0, 0, 0].tolist() == [255 if mode == "LA" else 10 for mode in modes]


def test_one_image_is_not_held_twice():
    found = to_pixels(Image.new("L", (3, 2)), GREY, GREY_PREPARATION)
    assert found.to_invert is found.pixels


def test_pillow_images_are_prepared():
    found = to_pixels([Image.new("RGB", (30, 20), "white")] * 2, GREY, GREY_PREPARATION).pixels
    np.testing.assert_array_equal(found, np.full((2, 2, 3, 1), 255))


def test_images_of_an_iterator_are_taken_in_order(tmp_path):
    for level in (1, 2):
        Image.new("L", (3, 2), level).save(tmp_path / f"{level}.png")
    paths = (tmp_path / f"{level}.png" for level in (1, 2))
    assert to_pixels(paths, GREY, GREY_PREPARATION).pixels[:, 0, 0, 0].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("array", "found"),
    [
        (np.zeros((2, 3)), "float64 [2, 3]"),
        (np.zeros((3, 2), np.uint8), "uint8 [3, 2]"),
        (np.zeros((1, 1, 2, 3, 1), np.uint8), "uint8 [1, 1, 2, 3, 1]"),
        (np.zeros((4, 1, 2, 3), np.uint8), "uint8 [4, 1, 2, 3]"),
        (np.uint8(3), "uint8 []"),
        (np.zeros((2, 3, 3), np.uint8), "uint8 [2, 3, 3]"),
    ],
)
def test_other_arrays_are_refused(one_line, array, found):
    with pytest.raises(UserError) as caught:
        to_pixels(array, GREY, GREY_PREPARATION)
    line = one_line(caught.value)
    assert f"images are {found}; allowed: uint8 [N, 2, 3]" in line


def test_unreadable_file_is_named_with_the_reason(tmp_path, one_line):
    (tmp_path / "a.png").write_text("text")
    with pytest.raises(UserError) as caught:
        to_pixels([tmp_path / "a.png"], GREY, GREY_PREPARATION)
    assert f"{tmp_path / 'a.png'} cannot be read: no image" in one_line(caught.value)


def test_pillow_image_that_cannot_be_decoded_is_refused_in_one_line(tmp_path, one_line):
    noise = np.random.default_rng(0).integers(0, 256, (50, 50), np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    cut_off = (tmp_path / "a.png").read_bytes()[:1000]
    (tmp_path / "a.png").write_bytes(cut_off)
    with pytest.raises(UserError) as caught:
        to_pixels(Image.open(tmp_path / "a.png"), GREY, GREY_PREPARATION)
    assert "an image cannot be read: " in one_line(caught.value)


class DamagedImage(Image.Image):
    """An image of which Pillow finds out while it decodes it that a number is missing."""

    def load(self):
        raise struct.error("unpack requires a buffer of 4 bytes")


def test_any_error_of_pillow_is_one_line(one_line):
    image = DamagedImage()
    image._mode, image._size = "L", (2, 3)
    with pytest.raises(UserError) as caught:
        to_pixels(image, GREY, GREY_PREPARATION)
    assert "an image cannot be read: damaged: unpack requires a buffer" in one_line(caught.value)


def test_files_for_a_model_of_two_channels_are_refused(one_line):
    with pytest.raises(UserError) as caught:
        to_pixels("a.png", (2, 3, 2), None)
    assert "takes images of 2 channels" in one_line(caught.value)
    assert "uint8 [N, 2, 3, 2]" in one_line(caught.value)


@pytest.mark.parametrize("images", [[], np.zeros((0, 2, 3), np.uint8)])
def test_no_image_is_refused(images):
    with pytest.raises(UserError, match="give at least one"):
        to_pixels(images, GREY, GREY_PREPARATION)
