import numpy as np

from vit_hk.data import image_rows
from vit_hk.data.image_rows import ImageRows, chunks, mean_image

IMAGES = np.random.default_rng(0).integers(0, 256, (50, 3, 4, 2), dtype=np.uint8)
ROWS = np.array([40, 3, 3, 17, 0])


def test_rows_are_those_of_the_array():
    rows = ImageRows(IMAGES, ROWS)
    assert rows.shape == (5, 3, 4, 2)
    assert len(rows) == 5
    np.testing.assert_array_equal(rows[:], IMAGES[ROWS])
    np.testing.assert_array_equal(rows[1:3], IMAGES[[3, 3]])
    np.testing.assert_array_equal(rows[3], IMAGES[17])
    np.testing.assert_array_equal(rows[np.array([4, 0])], IMAGES[[0, 40]])


def test_rows_of_rows():
    rows = ImageRows(ImageRows(IMAGES, ROWS), np.array([3, 0]))
    np.testing.assert_array_equal(rows[:], IMAGES[[17, 40]])


def test_chunks_are_all_images_in_their_order_and_small(monkeypatch):
    monkeypatch.setattr(image_rows, "CHUNK_BYTES", 7 * 24 + 5)  # of seven images
    parts = list(chunks(ImageRows(IMAGES, np.arange(49, -1, -1))))
    assert [len(part) for part in parts] == [7] * 7 + [1]
    np.testing.assert_array_equal(np.concatenate(parts), IMAGES[::-1])
    monkeypatch.setattr(image_rows, "CHUNK_BYTES", 1)  # less than an image
    assert [len(part) for part in chunks(IMAGES)] == [1] * 50


def test_mean_image_is_numpys_mean_to_the_last_bit():
    np.testing.assert_array_equal(mean_image(IMAGES), IMAGES.mean(axis=0))
