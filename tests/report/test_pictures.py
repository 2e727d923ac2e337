"""Pictures that the page embeds."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from vit_hk.report.pictures import image_url, thumbnail_url


def decode(url: str) -> np.ndarray:
    start, data = url.split(",")
    assert start == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


@pytest.mark.parametrize("make_url", [image_url, thumbnail_url])
@pytest.mark.parametrize("shape", [(28, 28, 1), (128, 40, 3)])
def test_images_as_large_as_thumbnails_keep_each_pixel(make_url, shape):
    image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    np.testing.assert_array_equal(decode(make_url(image)), image.squeeze())


@pytest.mark.parametrize(("channels", "shown"), [(1, ()), (3, (3,))])
def test_thumbnails_of_larger_images_keep_proportions_and_places(channels, shown):
    image = np.zeros((256, 512, channels), np.uint8)
    image[:128, :256] = [200] if channels == 1 else [200, 0, 0]
    assert decode(image_url(image)).shape == (256, 512, *shown)
    small = decode(thumbnail_url(image))
    assert small.shape == (64, 128, *shown)
    expected = image[2::4, 2::4].squeeze().astype(int)
    far = np.s_[np.r_[0:28, 36:64]][:, np.newaxis], np.s_[np.r_[0:60, 68:128]]  # from the edges
    np.testing.assert_allclose(small.astype(int)[far], expected[far], atol=1)
