import mmap

import numpy as np
import pytest

from vit_hk.data import image_rows
from vit_hk.data.image_rows import ImageRows, are_equal, chunks, mean_image

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


def test_equality_depends_on_each_pixel_and_on_the_shape(monkeypatch):
    monkeypatch.setattr(image_rows, "CHUNK_BYTES", 7 * 24)
    assert are_equal(IMAGES, ImageRows(IMAGES, np.arange(50)))
    other = IMAGES.copy()
    other[49, 2, 3, 1] ^= 1
    assert not are_equal(IMAGES, other)
    assert not are_equal(IMAGES, IMAGES[:49])
    assert not are_equal(IMAGES, IMAGES.reshape(50, 4, 3, 2))


@pytest.fixture
def advice(monkeypatch) -> list[tuple[int, int]]:
    """Record the ranges of bytes of mapped files that the system is asked to read."""
    ranges = []

    class Recording(mmap.mmap):
        def madvise(self, option: int, start: int, length: int) -> None:
            assert option == mmap.MADV_WILLNEED
            super().madvise(option, start, length)  # refuses what is not of the mapping
            ranges.append((start, min(start + length, len(self))))

    monkeypatch.setattr(mmap, "mmap", Recording)
    return ranges


def test_pages_of_chosen_images_are_read_together_and_no_others(tmp_path, advice):
    offset, page = 5000, mmap.PAGESIZE  # as in an NPZ file, images do not begin with a page
    content = np.random.default_rng(0).integers(0, 256, 300 * 3000, dtype=np.uint8)
    (tmp_path / "file").write_bytes(bytes(offset) + content.tobytes())
    mapped = np.memmap(tmp_path / "file", np.uint8, "r", offset, (300, 50, 60))
    images = np.asarray(mapped)[..., np.newaxis]
    rows = np.array([299, 7, 100, 102, 0, 101, 7])
    read = ImageRows(images, rows)[:]
    np.testing.assert_array_equal(read, content.reshape(300, 50, 60, 1)[rows])
    needed = {
        place // page
        for row in rows
        for place in range(offset + 3000 * row, offset + 3000 * (row + 1))
    }
    skipped = offset // mmap.ALLOCATIONGRANULARITY * mmap.ALLOCATIONGRANULARITY // page
    pages = [
        skipped + number
        for start, end in advice
        for number in range(start // page, -(-end // page))
    ]
    assert sorted(pages) == sorted(needed)
    assert len(advice) == 4  # of 0, of 7, of 100 to 102, of 299
    advice.clear()
    for other in (images[:, ::2], images.copy(), images[:0]):
        _ = ImageRows(other, np.arange(len(other)))[:]
    assert not advice
