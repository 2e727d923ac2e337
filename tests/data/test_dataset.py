import dataclasses
import errno
import io
import json
import pickle
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from npz_file import U1_HEADER, assert_same, npy, npy_by_hand, small_dataset, write_npz

from vit_hk.data.dataset import ARRAYS, Dataset, load_dataset, save_dataset
from vit_hk.errors import UserError
from vit_hk.params import Preparation

REMEDY = "move it away, and make it again with: dvc repro download"


@pytest.fixture(scope="module")
def small() -> Dataset:
    return small_dataset()


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "dataset.npz"


@pytest.fixture
def refuse(path, one_line) -> Callable[[], str]:
    """Return a function that gives the error message about the file, without its path."""

    def read() -> str:
        with pytest.raises(UserError) as caught:
            load_dataset(path)
        message = one_line(caught.value)
        assert message.startswith(str(path))
        return message.removeprefix(str(path))

    return read


def test_loaded_data_set_equals_the_saved_one(tiny_dataset, path):
    save_dataset(tiny_dataset, path)
    loaded = load_dataset(path)
    assert_same(loaded, tiny_dataset)
    assert loaded.image_shape == (8, 12, 2)
    assert loaded.num_classes == 3


def test_numpy_can_read_the_file(tiny_dataset, path):
    save_dataset(tiny_dataset, path)
    with np.load(path, allow_pickle=False) as arrays:
        assert sorted(arrays) == sorted(ARRAYS)
        np.testing.assert_array_equal(arrays["x_test"], tiny_dataset.x_test)
        assert arrays["class_names"].tolist() == list(tiny_dataset.class_names)
        assert str(arrays["source"]) == tiny_dataset.source


def test_same_data_gives_the_same_bytes(tiny_dataset, tmp_path):
    copied = dataclasses.replace(tiny_dataset, x_train=tiny_dataset.x_train.copy())
    save_dataset(tiny_dataset, tmp_path / "a.npz")
    save_dataset(copied, tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


HOW = Preparation(height=3, width=2, channels=1, resize="pad", background=255)


def test_preparation_of_images_is_kept(small, path):
    save_dataset(dataclasses.replace(small, preparation=HOW), path)
    assert load_dataset(path).preparation == HOW
    with np.load(path, allow_pickle=False) as arrays:
        assert json.loads(str(arrays["preparation"])) == HOW.model_dump()
    save_dataset(small, path)
    assert load_dataset(path).preparation is None


@pytest.mark.parametrize(
    ("preparation", "problem"),
    [
        (np.array("{}"), ": preparation is '{}', which is not how images are prepared"),
        (np.array("no JSON"), ": preparation is 'no JSON', which is not how images are prepared"),
        (
            np.array(HOW.model_copy(update={"width": 4}).model_dump_json()),
            ": preparation makes images (3, 4, 1), those of x_train are (3, 2, 1)",
        ),
        (np.array(5), ": preparation is int64 []; allowed: text"),
        (np.array(["{}"]), ": preparation is <U2 [1]; allowed: text"),
        (np.array("x" * 201), ": preparation is <U201 []; allowed: at most 2,000 texts"),
    ],
    ids=["empty", "no JSON", "another shape", "a number", "a list", "long"],
)
def test_invalid_preparation_is_refused(small, path, refuse, preparation, problem):
    write_npz(path, small, {"preparation": preparation})
    assert refuse().startswith(problem)


def test_images_without_a_channel_axis_are_given_one(small, path):
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
def test_labels_of_any_integer_type_become_int32(small, path, dtype):
    write_npz(path, small, {"y_train": small.y_train.astype(dtype)})
    assert_same(load_dataset(path), small)


def test_compressed_and_fortran_ordered_arrays_are_read(small, path):
    changes = {"x_train": np.asfortranarray(small.x_train)}
    write_npz(path, small, changes, compression=zipfile.ZIP_DEFLATED)
    assert_same(load_dataset(path), small)


def test_other_members_are_ignored(small, path):
    write_npz(path, small, more=(("note.npy", pickle.dumps({"a": 1})), ("readme.txt", b"hi")))
    assert_same(load_dataset(path), small)


def test_missing_file_is_refused_with_the_command_that_makes_it(refuse):
    assert refuse() == " is not there; make it with: dvc repro download"


def test_folder_is_refused(path, refuse):
    path.mkdir()
    assert refuse() == " is no file; make it with: dvc repro download"


@pytest.mark.parametrize("content", [b"", b"PK\x05\x06", b"not a zip" * 99, b"\x93NUMPY\x01\0"])
def test_file_that_is_not_a_zip_archive_is_refused(path, refuse, content):
    path.write_bytes(content)
    message = refuse()
    assert "is damaged" in message
    assert message.endswith(REMEDY)


def test_file_that_may_not_be_read_is_not_called_damaged(small, path, refuse, monkeypatch):
    save_dataset(small, path)

    def deny(*_, **__):  # root, as whom tests may run, reads everything
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "open", deny)
    assert refuse() == " could not be read: Permission denied; make it readable"


def test_file_that_is_truncated_anywhere_is_refused(small, path, refuse):
    save_dataset(small, path)
    whole = path.read_bytes()
    for length in [*range(0, len(whole), 29), len(whole) - 1]:
        path.write_bytes(whole[:length])
        assert refuse().endswith(REMEDY), length


def test_changed_pixel_is_refused(tiny_dataset, path, refuse):
    save_dataset(tiny_dataset, path)
    raw = bytearray(path.read_bytes())
    # A byte in the middle of x_train, the first member.
    raw[len(raw) // 3] ^= 1
    path.write_bytes(raw)
    assert "x_train" in refuse()


@pytest.mark.parametrize("name", ARRAYS)
def test_missing_array_is_named(small, path, refuse, name):
    write_npz(path, small, {name: None})
    message = refuse()
    assert f"has no array {name}; it must hold" in message
    assert all(other in message for other in ARRAYS)


@pytest.mark.parametrize("duplicate", ["y_train.npy", "y_train"])
def test_duplicate_array_is_refused(small, path, refuse, duplicate):
    write_npz(path, small, more=((duplicate, npy(small.y_train)),))
    assert "holds an array twice" in refuse()


def test_unequal_numbers_of_images_and_labels_are_named(small, path, refuse):
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


@pytest.mark.parametrize("shape", [(4, 1, 4097), (4, 4097, 1, 1)], ids=str)
def test_images_with_a_side_of_more_than_4096_pixels_are_refused(small, path, refuse, shape):
    write_npz(path, small, {"x_train": np.zeros(shape, np.uint8)})
    found = f"x_train is uint8 {list(shape)}; allowed: sides of at most 4,096 pixels"
    assert found in refuse()


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
        (np.array([0, 1, 0, 2**32]), 3, 2**32, 1),  # it would be 0 as int32
    ],
)
def test_first_label_out_of_range_is_named(small, path, refuse, labels, index, value, count):
    write_npz(path, small, {"y_train": labels})
    message = refuse()
    assert f"y_train[{index}] is {value}; allowed: 0 to 1" in message
    assert f"({count} are wrong)" in message


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_classes_are_refused(small, path, refuse, count):
    write_npz(path, small, {"class_names": np.array(["a"] * count, "U1")})
    assert f"class_names has {count} entries; allowed: 2 or more" in refuse()


def test_duplicate_class_name_is_refused(small, path, refuse):
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
    """Return a .npy file of one-character texts with arbitrary code points, valid or not."""
    header = f"{{'descr': '<U1', 'fortran_order': False, 'shape': ({len(points)},)}}"
    return npy_by_hand(header, struct.pack(f"<{len(points)}I", *points))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (npy(np.array(["a\nb", "c"])), "class_names[0] is 'a\\nb', which has the control char"),
        (npy(np.array(["a", ""])), "class_names[1] is ''; allowed: a text with a visible"),
        (npy(np.array(["a", " \u200d"])), "class_names[1] is ' \\u200d'; allowed: a text with a"),
        (npy(np.array(["a\x1b[2J", "b"])), "the control character U+001B"),
        (npy(np.array(["a", "b\u2028"])), "class_names[1] is 'b\\u2028', which has the control"),
        (codes(0xD800, 65), "class_names[0] is '\\ud800'; allowed: a text with a visible"),
        (codes(0x110000, 65), "class_names holds code points that are no characters"),
        (codes(0xFFFFFFFF, 65), "class_names holds code points that are no characters"),
    ],
    ids=["line break", "empty", "invisible", "escape", "separator", "surrogate", "beyond Unicode",
         "largest uint32"],
)  # fmt: skip
def test_class_name_at_fault_is_named(small, path, refuse, content, problem):
    write_npz(path, small, {"class_names": content})
    assert problem in refuse()


@pytest.mark.parametrize(
    "name",
    ["soft\u00a0ware", "नि\u200dष", "👩\u200d🔬", "猫", "שלום", "a\u00adb", "$\\alpha$", " a "],
)
def test_class_names_of_any_script_are_read(small, path, name):
    write_npz(path, small, {"class_names": npy(np.array([name, "other"]))})
    assert load_dataset(path).class_names == (name, "other")


@pytest.mark.parametrize("shape", [(2, 3, 32, 32), (2, 1, 28, 28), (2, 4, 8, 12)])
def test_channels_first_is_recognized(small, path, refuse, shape):
    write_npz(path, small, {"x_train": npy(np.zeros(shape, np.uint8))})
    message = refuse()
    assert f"x_train is uint8 {list(shape)}, which looks like [N, channels, height" in message
    assert "transpose it: x.transpose(0, 2, 3, 1)" in message


class Exploit:
    """An object that creates a file when it is unpickled."""

    def __init__(self, created: Path) -> None:
        self.created = created

    def __reduce__(self) -> tuple:
        return Path.touch, (self.created,)


@pytest.mark.parametrize("name", ["x_train", "y_test", "class_names"])
def test_pickled_objects_are_refused_and_not_executed(small, path, refuse, tmp_path, name):
    exploit = Exploit(tmp_path / "created")
    file = io.BytesIO()
    np.lib.format.write_array(file, np.array([exploit, exploit], object), allow_pickle=True)
    write_npz(path, small, {name: file.getvalue()})
    assert f"{name} holds pickled objects, which are never loaded" in refuse()
    assert not exploit.created.exists()


def test_structured_type_with_objects_is_refused(small, path, refuse):
    header = "{'descr': [('a', 'O')], 'fortran_order': False, 'shape': (3,)}"
    write_npz(path, small, {"x_train": npy_by_hand(header, bytes(24))})
    assert "holds pickled objects" in refuse()


@pytest.mark.parametrize(
    "shape", ["(4, 3, 2, 2)", "(5, 3, 2, 1)", "(10000000, 10000, 10000, 3)", "()", "(3, 3, 2, 1)"]
)
def test_header_with_a_wrong_size_is_refused_before_memory_is_allocated(small, path, refuse, shape):
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
def test_header_with_an_invalid_shape_is_refused(small, path, refuse, shape):
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
    ids=["empty", "only the magic string", "length of 4 GiB", "version 9.9"],
)
def test_member_that_is_not_an_array_is_refused(small, path, refuse, content):
    write_npz(path, small, {"y_train": content})
    assert refuse().endswith(REMEDY)


def edit_directory(path: Path, name: str, **values: int) -> None:
    """Change fields of a member's entry in the central directory of a ZIP archive."""
    raw = bytearray(path.read_bytes())
    start = raw.rindex(name.encode()) - 46
    assert raw[start : start + 4] == b"PK\x01\x02"
    fields = {
        "flags": (8, "<H"),
        "method": (10, "<H"),
        "compressed": (20, "<I"),
        "size": (24, "<I"),
    }
    for field, value in values.items():
        offset, form = fields[field]
        struct.pack_into(form, raw, start + offset, value)
    path.write_bytes(raw)


@pytest.mark.parametrize(
    "values", [{"size": 0xFFFFFFF0}, {"size": 0xFFFFFFF0, "compressed": 0xFFFFFFF0}]
)
def test_member_with_a_wrong_size_in_the_directory_is_refused(small, path, refuse, values):
    write_npz(path, small)
    edit_directory(path, "x_train.npy", **values)
    assert "x_train claims more bytes than the file holds" in refuse()


@pytest.mark.parametrize(
    "values", [{"method": 12}, {"method": 14}, {"method": 99}, {"flags": 1}, {"flags": 0x20}],
    ids=["bzip2", "lzma", "unknown", "encrypted", "patch"],
)  # fmt: skip
def test_member_with_another_compression_is_refused(small, path, refuse, values):
    write_npz(path, small)
    edit_directory(path, "x_train.npy", **values)
    assert refuse().endswith(REMEDY)


def test_damaged_lzma_stream_is_refused(small, path, refuse):
    write_npz(path, small, compression=zipfile.ZIP_LZMA)
    raw = bytearray(path.read_bytes())
    raw[55:60] = b"\xff" * 5
    path.write_bytes(raw)
    assert "compressed in a way that NumPy does not write" in refuse()


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_images_are_mapped_and_cannot_be_changed(tiny_dataset, path, compression):
    write_npz(path, tiny_dataset, compression=compression)
    images = load_dataset(path).x_train
    base = images
    while isinstance(base.base, np.ndarray):
        base = base.base
    assert isinstance(base, np.memmap)
    assert not images.flags.writeable
    path.unlink()  # what is mapped stays
    np.testing.assert_array_equal(images, tiny_dataset.x_train)


def test_mapped_images_are_saved_with_the_same_bytes(tiny_dataset, path, tmp_path):
    save_dataset(tiny_dataset, path)
    save_dataset(load_dataset(path), tmp_path / "again.npz")
    assert (tmp_path / "again.npz").read_bytes() == path.read_bytes()


def test_file_behind_other_bytes_is_mapped_where_it_lies(tiny_dataset, path):
    save_dataset(tiny_dataset, path)
    path.write_bytes(b"a program that unpacks itself" + path.read_bytes())  # a zip file may be one
    assert_same(load_dataset(path), tiny_dataset)
