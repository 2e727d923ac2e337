import dataclasses
import io
import pickle
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from npz_file import U1_HEADER, assert_same, npy, npy_by_hand, small_dataset, write_npz
from sklearn.model_selection import StratifiedShuffleSplit

from vit_hk.dataset import (
    ARRAYS,
    MAX_BYTES,
    Dataset,
    channel_statistics,
    load_dataset,
    normalize,
    save_dataset,
    stratified_split,
)
from vit_hk.errors import UserError

REMEDY = "make it anew with: dvc repro --force download"


@pytest.fixture(scope="module")
def small() -> Dataset:
    return small_dataset()


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "dataset.npz"


@pytest.fixture
def refuse(path, one_line) -> Callable[[], str]:
    """The message about the file, without its path."""

    def read() -> str:
        with pytest.raises(UserError) as caught:
            load_dataset(path)
        message = one_line(caught.value)
        assert message.startswith(str(path))
        return message.removeprefix(str(path))

    return read


def test_saved_data_comes_back(tiny_dataset, path):
    save_dataset(tiny_dataset, path)
    loaded = load_dataset(path)
    assert_same(loaded, tiny_dataset)
    assert loaded.image_shape == (8, 12, 2)
    assert loaded.num_classes == 3


def test_plain_numpy_reads_the_file(tiny_dataset, path):
    save_dataset(tiny_dataset, path)
    with np.load(path, allow_pickle=False) as arrays:
        assert sorted(arrays) == sorted(ARRAYS)
        np.testing.assert_array_equal(arrays["x_test"], tiny_dataset.x_test)
        assert arrays["class_names"].tolist() == list(tiny_dataset.class_names)
        assert str(arrays["source"]) == "made for a test"


def test_same_data_gives_the_same_bytes(tiny_dataset, tmp_path):
    copied = dataclasses.replace(tiny_dataset, x_train=tiny_dataset.x_train.copy())
    save_dataset(tiny_dataset, tmp_path / "a.npz")
    save_dataset(copied, tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_images_without_channel_axis_get_one(small, path):
    random = np.random.default_rng(1)
    x_train = random.integers(0, 256, (4, 28, 28), dtype=np.uint8)
    x_test = random.integers(0, 256, (2, 28, 28), dtype=np.uint8)
    write_npz(path, small, {"x_train": x_train, "x_test": x_test})
    loaded = load_dataset(path)
    assert loaded.x_train.shape == (4, 28, 28, 1)
    np.testing.assert_array_equal(loaded.x_train[..., 0], x_train)
    np.testing.assert_array_equal(loaded.x_test[..., 0], x_test)
    assert loaded.image_shape == (28, 28, 1)


@pytest.mark.parametrize("dtype", [">i4", "<i8", "i1", "u1", ">u2", "u8"])
def test_labels_of_any_whole_type_become_int32(small, path, dtype):
    write_npz(path, small, {"y_train": small.y_train.astype(dtype)})
    assert_same(load_dataset(path), small)


def test_compressed_and_fortran_ordered_arrays_are_read(small, path):
    changes = {"x_train": np.asfortranarray(small.x_train)}
    write_npz(path, small, changes, compression=zipfile.ZIP_DEFLATED)
    assert_same(load_dataset(path), small)


def test_other_members_are_ignored(small, path):
    write_npz(path, small, more=(("note.npy", pickle.dumps({"a": 1})), ("readme.txt", b"hi")))
    assert_same(load_dataset(path), small)


def test_missing_file_names_the_command(refuse):
    assert refuse() == " is not there; make it with: dvc repro download"


def test_folder_is_refused(path, refuse):
    path.mkdir()
    assert refuse() == " is no file; make it with: dvc repro download"


@pytest.mark.parametrize("content", [b"", b"PK\x05\x06", b"not a zip" * 99, b"\x93NUMPY\x01\0"])
def test_file_that_is_no_zip_is_refused(path, refuse, content):
    path.write_bytes(content)
    message = refuse()
    assert "is damaged" in message
    assert message.endswith(REMEDY)


def test_truncated_file_is_refused_wherever_it_ends(small, path, refuse):
    save_dataset(small, path)
    whole = path.read_bytes()
    for length in [*range(0, len(whole), 29), len(whole) - 1]:
        path.write_bytes(whole[:length])
        assert refuse().endswith(REMEDY), length


def test_changed_pixel_is_noticed(tiny_dataset, path, refuse):
    save_dataset(tiny_dataset, path)
    raw = bytearray(path.read_bytes())
    # From the middle of x_train, the first member.
    raw[len(raw) // 3] ^= 1
    path.write_bytes(raw)
    assert "x_train" in refuse()


@pytest.mark.parametrize("name", ARRAYS)
def test_missing_array_is_named(small, path, refuse, name):
    write_npz(path, small, {name: None})
    message = refuse()
    assert f"has no array {name}; it must hold" in message
    assert all(other in message for other in ARRAYS)


@pytest.mark.parametrize("again", ["y_train.npy", "y_train"])
def test_array_that_is_there_twice_is_refused(small, path, refuse, again):
    write_npz(path, small, more=((again, npy(small.y_train)),))
    assert "holds an array twice" in refuse()


def test_unequal_counts_are_named(small, path, refuse):
    write_npz(path, small, {"y_train": np.array([0, 1, 1])})
    assert "x_train has 4 images, y_train 3 labels; the counts must be equal" in refuse()


def test_splits_with_images_of_different_shapes_are_refused(small, path, refuse):
    write_npz(path, small, {"x_test": np.zeros((2, 3, 4, 1), np.uint8)})
    message = refuse()
    assert "x_train are (3, 2, 1), those of x_test (3, 4, 1)" in message


@pytest.mark.parametrize(
    ("images", "found"),
    [
        (np.zeros((4, 3, 2, 1)), "float64 [4, 3, 2, 1]"),
        (np.full((4, 3, 2, 1), np.nan, np.float32), "float32 [4, 3, 2, 1]"),
        (np.zeros((4, 3, 2, 1), np.int8), "int8 [4, 3, 2, 1]"),
        (np.zeros((4, 3, 2, 1), np.uint16), "uint16 [4, 3, 2, 1]"),
        (np.zeros((4, 3, 2, 1), bool), "bool [4, 3, 2, 1]"),
        (np.zeros((4, 6), np.uint8), "uint8 [4, 6]"),
        (np.zeros((4, 3, 2, 1, 1), np.uint8), "uint8 [4, 3, 2, 1, 1]"),
        (np.zeros((0, 3, 2, 1), np.uint8), "uint8 [0, 3, 2, 1]"),
        (np.zeros((4, 0, 2, 1), np.uint8), "uint8 [4, 0, 2, 1]"),
        (np.zeros((4, 3, 2, 0), np.uint8), "uint8 [4, 3, 2, 0]"),
        (np.uint8(3), "uint8 []"),
        (np.array("text"), "<U4 []"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("name", ["x_train", "x_test"])
def test_images_of_wrong_type_or_shape_are_refused(small, path, refuse, name, images, found):
    write_npz(path, small, {name: np.asarray(images)})
    assert f"{name} is {found}; allowed: uint8 [N, height, width] or" in refuse()


@pytest.mark.parametrize(
    "labels",
    [np.array([0.0, 1.0]), np.array([True, False]), np.array(["0", "1"]), np.array([[0], [1]])],
    ids=["float", "bool", "text", "two axes"],
)
def test_labels_of_wrong_type_or_shape_are_refused(small, path, refuse, labels):
    write_npz(path, small, {"y_test": labels})
    assert f"y_test is {labels.dtype} {list(labels.shape)}; allowed: whole numbers [N]" in refuse()


@pytest.mark.parametrize(
    ("labels", "index", "value", "count"),
    [
        (np.array([0, 2, 1, 3]), 1, 2, 2),
        (np.array([0, 1, 1, -1]), 3, -1, 1),
        (np.array([0, 1, 2**63, 0], np.uint64), 2, 2**63, 1),
        (np.array([0, 1, 0, 2**32]), 3, 2**32, 1),  # as int32 it would be 0
    ],
)
def test_label_out_of_range_is_named_by_index(small, path, refuse, labels, index, value, count):
    write_npz(path, small, {"y_train": labels})
    message = refuse()
    assert f"y_train[{index}] is {value}; allowed: 0 to 1" in message
    assert f"({count} are wrong)" in message


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_classes_are_refused(small, path, refuse, count):
    write_npz(path, small, {"class_names": np.array(["a"] * count, "U1")})
    assert f"class_names has {count} entries; allowed: 2 or more" in refuse()


def test_two_classes_of_one_name_are_refused(small, path, refuse):
    write_npz(path, small, {"class_names": np.array(["shirt", "bag", "shirt"])})
    assert "class_names holds 'shirt' 2 times; allowed: once" in refuse()


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("name", np.array(3)),
        ("name", np.array(["mnist"])),
        ("name", np.array(b"mnist")),
        ("source", np.array(1.5)),
        ("class_names", np.arange(2)),
        ("class_names", np.array([["a", "b"]])),
        ("class_names", np.array("ab")),
    ],
)
def test_text_of_wrong_type_or_shape_is_refused(small, path, refuse, name, array):
    write_npz(path, small, {name: array})
    assert f"{name} is {array.dtype} {list(array.shape)}; allowed: text" in refuse()


def codes(*points: int) -> bytes:
    """A .npy of one-letter texts with any code points, real or not."""
    header = f"{{'descr': '<U1', 'fortran_order': False, 'shape': ({len(points)},)}}"
    return npy_by_hand(header, struct.pack(f"<{len(points)}I", *points))


@pytest.mark.parametrize(
    "content",
    [
        npy(np.array(["a\nb", "c"])),
        npy(np.array(["a", ""])),
        npy(np.array(["a\x1b[2J", "b"])),
        codes(0xD800, 65),
        codes(0x110000, 65),
        codes(0xFFFFFFFF, 65),
    ],
    ids=["line break", "empty", "escape", "surrogate", "over the last", "far over the last"],
)
def test_class_name_that_cannot_be_printed_is_refused(small, path, refuse, content):
    write_npz(path, small, {"class_names": content})
    assert "class_names holds an empty text or one that cannot be printed" in refuse()


class Trap:
    """Leaves a mark when it is unpickled."""

    mark: Path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("name", ["x_train", "y_test", "class_names"])
def test_pickled_objects_are_refused_and_never_run(small, path, refuse, tmp_path, name):
    trap = Trap()
    trap.mark = tmp_path / "mark"
    file = io.BytesIO()
    np.lib.format.write_array(file, np.array([trap, trap], object), allow_pickle=True)
    write_npz(path, small, {name: file.getvalue()})
    assert f"{name} holds pickled objects, which are never loaded" in refuse()
    assert not trap.mark.exists()


def test_structured_type_with_objects_is_refused(small, path, refuse):
    header = "{'descr': [('a', 'O')], 'fortran_order': False, 'shape': (3,)}"
    write_npz(path, small, {"x_train": npy_by_hand(header, bytes(24))})
    assert "holds pickled objects" in refuse()


@pytest.mark.parametrize(
    "shape", ["(4, 3, 2, 2)", "(5, 3, 2, 1)", "(10000000, 10000, 10000, 3)", "()", "(3, 3, 2, 1)"]
)
def test_header_that_claims_another_size_is_refused_without_memory(small, path, refuse, shape):
    content = npy_by_hand(U1_HEADER.format(shape), bytes(24))
    write_npz(path, small, {"x_train": content})
    tracemalloc.start()
    try:
        message = refuse()
        assert tracemalloc.get_traced_memory()[1] < 1e6
    finally:
        tracemalloc.stop()
    assert "x_train claims " in message
    assert "bytes of data, its part of the file 24" in message


@pytest.mark.parametrize(
    "shape",
    [
        "(-4, -3, 2, 1)", "(4, 3, 2, -1)", "(4, -6, -1)", "(2.0, 12)", "[4, 3, 2, 1]", "None",
        "4**4,", "(4, 3, 2", "'", "'''", "(4L, 3L, 2L, 1L)", "__import__('os').abort()",
    ],
)  # fmt: skip
def test_header_with_a_wrong_shape_is_refused(small, path, refuse, shape):
    write_npz(path, small, {"x_train": npy_by_hand(U1_HEADER.format(shape), bytes(24))})
    assert refuse().endswith(REMEDY)


@pytest.mark.parametrize(
    "header",
    [
        "", "{}", "[" * 9000, "-" * 9000 + "1", "9" * 9000, "if 1:\n  2\n 3", "\0", "\\", "\xff",
        "{'descr': '<U0', 'fortran_order': False, 'shape': (4,)}",
        "{'descr': 'no such type', 'fortran_order': False, 'shape': (24,)}",
        "{'descr': '|u1', 'fortran_order': 3, 'shape': (24,)}",
        "{'descr': '|u1', 'shape': (24,)}",
        " " * 60_000,
    ],
    ids=lambda text: ascii(text[:12]),
)  # fmt: skip
def test_header_that_cannot_be_read_is_refused(small, path, refuse, header):
    write_npz(path, small, {"x_train": npy_by_hand(header, bytes(24))})
    assert refuse().endswith(REMEDY)


@pytest.mark.parametrize(
    "content",
    [b"", b"\x93NUMPY", b"\x93NUMPY\x02\x00\xff\xff\xff\xff", npy_by_hand("{}", b"", (9, 9))],
    ids=["empty", "magic alone", "length of 4 GiB", "version 9.9"],
)
def test_member_that_is_no_array_is_refused(small, path, refuse, content):
    write_npz(path, small, {"y_train": content})
    assert refuse().endswith(REMEDY)


def edit_directory(path: Path, name: str, **values: int) -> None:
    """Change fields of a member's entry in the zip's central directory."""
    raw = bytearray(path.read_bytes())
    start = raw.rindex(name.encode()) - 46
    assert raw[start : start + 4] == b"PK\x01\x02"
    fields = {"flags": (8, "<H"), "method": (10, "<H"), "packed": (20, "<I"), "size": (24, "<I")}
    for field, value in values.items():
        offset, form = fields[field]
        struct.pack_into(form, raw, start + offset, value)
    path.write_bytes(raw)


@pytest.mark.parametrize(
    "values", [{"size": 0xFFFFFFF0}, {"size": 0xFFFFFFF0, "packed": 0xFFFFFFF0}]
)
def test_member_that_claims_a_huge_size_is_refused(small, path, refuse, values):
    write_npz(path, small)
    edit_directory(path, "x_train.npy", **values)
    assert "x_train claims more bytes than the file holds" in refuse()


@pytest.mark.parametrize(
    "values", [{"method": 12}, {"method": 14}, {"method": 99}, {"flags": 1}, {"flags": 0x20}],
    ids=["bzip2", "lzma", "unknown", "encrypted", "patch"],
)  # fmt: skip
def test_member_packed_in_another_way_is_refused(small, path, refuse, values):
    write_npz(path, small)
    edit_directory(path, "x_train.npy", **values)
    assert refuse().endswith(REMEDY)


def test_damaged_lzma_is_refused(small, path, refuse):
    write_npz(path, small, compression=zipfile.ZIP_LZMA)
    raw = bytearray(path.read_bytes())
    raw[55:60] = b"\xff" * 5
    path.write_bytes(raw)
    assert "packed in a way that NumPy does not write" in refuse()


def test_eight_gibibytes_are_the_limit():
    # 60,000 images of 224 x 224 in colour would not fit; the four data sets fit 40 times.
    assert MAX_BYTES == 8 * 1024**3


def test_split_takes_the_share_of_each_class():
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1, 2, 7], [100, 40, 10, 3]))
    kept, aside = stratified_split(labels, 0.2, seed=0)
    values, counts = np.unique(labels[aside], return_counts=True)
    assert dict(zip(values, counts, strict=True)) == {0: 20, 1: 8, 2: 2, 7: 1}
    assert len(kept) == 153 - 31
    np.testing.assert_array_equal(np.sort(np.concatenate([kept, aside])), np.arange(153))
    assert (np.diff(kept) > 0).all()
    assert (np.diff(aside) > 0).all()


def test_split_has_the_counts_of_scikit_learn():
    labels = np.random.default_rng(1).permutation(np.repeat(np.arange(10), 50))
    _, aside = stratified_split(labels, 0.1, seed=0)
    shuffle = StratifiedShuffleSplit(1, test_size=0.1, random_state=0)
    _, expected = next(shuffle.split(labels, labels))
    np.testing.assert_array_equal(np.bincount(labels[aside]), np.bincount(labels[expected]))


def test_split_sets_aside_at_least_one_of_a_class():
    labels = np.repeat([0, 1], [1000, 2])
    _, aside = stratified_split(labels, 0.01, seed=0)
    np.testing.assert_array_equal(np.bincount(labels[aside]), [10, 1])


def test_split_follows_from_the_seed():
    labels = np.arange(300) % 3
    first, again, other = (stratified_split(labels, 0.3, seed) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first[1], again[1])
    np.testing.assert_array_equal(first[0], again[0])
    assert not np.array_equal(first[1], other[1])


def test_split_chooses_at_random_within_a_class():
    _, aside = stratified_split(np.zeros(1000, int), 0.5, seed=0)
    # Half of either half, give or take four deviations of 7.9.
    assert abs((aside < 500).sum() - 250) < 32


def test_statistics_are_those_of_numpy():
    images = np.random.default_rng(0).integers(0, 256, (50, 7, 5, 3), dtype=np.uint8)
    images[..., 1] //= 4
    mean, std = channel_statistics(images)
    np.testing.assert_allclose(mean, (images / 255).mean(axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(std, (images / 255).std(axis=(0, 1, 2)), rtol=1e-12)


def test_statistics_by_hand():
    images = np.array([0, 255, 255, 0], np.uint8).reshape(2, 2, 1, 1)
    assert channel_statistics(images) == ([0.5], [0.5])


def test_channel_that_never_changes_has_deviation_one():
    mean, std = channel_statistics(np.full((3, 2, 2, 1), 51, np.uint8))
    assert mean == pytest.approx([0.2])
    assert std == [1.0]


def test_normalized_images_have_mean_0_and_deviation_1():
    images = np.random.default_rng(0).integers(0, 200, (100, 6, 6, 2), dtype=np.uint8)
    mean, std = channel_statistics(images)
    scaled = normalize(images, np.float32(mean), np.float32(std))
    assert scaled.dtype == np.float32
    assert scaled.shape == images.shape
    np.testing.assert_allclose(scaled.mean(axis=(0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(scaled.std(axis=(0, 1, 2)), 1, atol=1e-5)


def test_normalize_by_hand():
    images = np.array([0, 51, 255], np.uint8).reshape(1, 3, 1, 1)
    scaled = normalize(images, np.float32([0.2]), np.float32([0.4]))
    np.testing.assert_allclose(scaled.ravel(), [-0.5, 0.0, 2.0], atol=1e-6)
