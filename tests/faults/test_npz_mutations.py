"""Thousands of damaged data sets: the right arrays or one line, and never much memory."""

import contextlib
import dataclasses
import shutil
import struct
import subprocess
import sys
import tracemalloc
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from mutations import mutations
from npz_file import U1_HEADER, assert_same, npy, npy_by_hand, small_dataset, write_npz
from small_disk import disk_of

from vit_hk.data.dataset import ARRAYS, MAX_CHARACTERS, Dataset, load_dataset, save_dataset
from vit_hk.errors import UserError

MAX_PEAK = 3e6  # bytes; the small data set has some hundred


@pytest.fixture(scope="module")
def small() -> Dataset:
    return small_dataset()


@pytest.fixture(scope="module")
def large() -> Dataset:
    """Return a data set of 16 MB, beside which Python's own objects are negligible."""
    images = np.random.default_rng(0).integers(0, 256, (20_000, 20, 40, 1), dtype=np.uint8)
    labels = np.arange(20_000, dtype=np.int32) % 2
    return Dataset(images, labels, images[:9], labels[:9], "mnist", "made for a test", ("a", "b"))


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "dataset.npz"


def load_or_none(path: Path, one_line: Callable[[Exception], str]) -> Dataset | None:
    """Return the data set, or None after a UserError of one line that names the file."""
    try:
        return load_dataset(path)
    except UserError as error:
        message = one_line(error)
    assert message.startswith(str(path))
    assert len(message) < 1000
    return None


def peak_memory(read: Callable[[], object]) -> int:
    """Return the maximum number of bytes that Python and NumPy held at a time."""
    tracemalloc.start()
    try:
        read()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


# Damage to bytes of the file.


@mutations(200)
@given(
    edits=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), max_size=4)
)
@example(edits=[])
def test_flipped_bits_give_the_same_data_or_are_refused(small, path, one_line, edits):
    save_dataset(small, path)
    raw = bytearray(path.read_bytes())
    for position, change in edits:
        raw[int(position * len(raw))] ^= change
    path.write_bytes(raw)
    loaded = load_or_none(path, one_line)
    if loaded is None:
        assert edits
    else:
        # Some fields, such as the time of a member, do not affect the arrays.
        assert_same(loaded, small)


@mutations(160)
@given(
    start=st.floats(0, 1), length=st.integers(0, 400), inserted=st.binary(max_size=30),
    compressed=st.booleans(),
)  # fmt: skip
def test_deleted_and_inserted_bytes_give_the_same_data_or_are_refused(
    small, path, one_line, start, length, inserted, compressed
):
    write_npz(path, small, compression=zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED)
    raw = path.read_bytes()
    position = int(start * len(raw))
    path.write_bytes(raw[:position] + inserted + raw[position + length :])
    loaded = load_or_none(path, one_line)
    if loaded is not None:
        assert_same(loaded, small)


def test_name_of_60_000_characters_is_not_quoted_in_full(small, path, one_line):
    write_npz(path, small, more=(("more", bytes(2**17)),))
    raw = bytearray(path.read_bytes())
    struct.pack_into("<H", raw, 26, 60_000)  # length of the first member's name
    path.write_bytes(raw)
    assert load_or_none(path, one_line) is None


# One array of the file with valid checksums, so that its header and data are checked.


@mutations(100)
@given(
    content=st.binary(max_size=80)
    | st.text("{}[]()'\"descrfoantu1<|U0_:, \n\\9-TFalse", max_size=80).map(npy_by_hand)
)
def test_random_array_is_refused(small, path, one_line, content):
    write_npz(path, small, {"y_train": content})
    assert load_or_none(path, one_line) is None


SIZES = st.integers(-2, 6) | st.sampled_from([10**5, 2**31, 2**32, 2**63 - 1, 2**64, 10**30])


@mutations(120)
@given(
    shape=st.lists(SIZES, max_size=6).map(tuple),
    descr=st.sampled_from(["|u1", "|b1", "<i8", "<f4", "<U7", "|O", "<M8[s]", "|V9", "<c16"]),
    held=st.integers(0, 64),
    compressed=st.booleans(),
)
def test_any_declared_shape_is_valid_or_refused_before_memory_is_allocated(
    small, path, one_line, shape, descr, held, compressed
):
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}}}"
    compression = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    write_npz(path, small, {"x_train": npy_by_hand(header, bytes(held))}, compression=compression)

    def read() -> None:
        loaded = load_or_none(path, one_line)
        # The only valid one: as many as the labels, of the size of the test images, 24 bytes.
        valid = descr == "|u1" and held == 24 and shape in ((4, 3, 2), (4, 3, 2, 1))
        assert (loaded is not None) == valid

    assert peak_memory(read) < MAX_PEAK


# Other arrays.


def is_valid(arrays: dict[str, np.ndarray]) -> bool:
    """Check the schema independently of the code, as simply as possible."""
    if set(ARRAYS) - set(arrays):
        return False
    for name, axes in (("name", 0), ("source", 0), ("class_names", 1)):
        array = arrays[name]
        if array.dtype.kind != "U" or array.ndim != axes or array.dtype.itemsize > 800:
            return False
        if not all(text and text.isprintable() for text in array.ravel().tolist()):
            return False
    classes = range(len(arrays["class_names"]))
    if len(set(arrays["class_names"].tolist())) < len(classes):
        return False
    for split in ("train", "test"):
        images, labels = arrays[f"x_{split}"], arrays[f"y_{split}"]
        if images.dtype != np.uint8 or images.ndim not in (3, 4) or images.size == 0:
            return False
        if labels.dtype.kind not in "iu" or labels.shape != (len(images),):
            return False
        if not all(label in classes for label in labels.tolist()):
            return False
    shapes = {(*arrays[name].shape[1:], 1)[:3] for name in ("x_train", "x_test")}
    return len(classes) >= 2 and len(shapes) == 1


NEW_VALUES = st.sampled_from(
    [
        np.nan, np.inf, -1, 0, 1, 2, 255, 256, 2**31, 2**63, 1e300, True, "", "a", "b\n", b"a",
        "x" * MAX_CHARACTERS, "x" * (MAX_CHARACTERS + 1), "é", "\x1b[2J",
    ]
)  # fmt: skip
AXES = st.sampled_from(["add", "flatten", "transpose", "fortran", "none"])
DTYPES = st.sampled_from(
    ["u1", "i1", ">u2", "<i4", ">i8", "u8", "f2", "f4", "f8", "c8", "?", "U3", "S3"]
)
CHANGES = st.lists(
    st.one_of(
        st.tuples(st.just("drop"), st.none()),
        st.tuples(st.just("dtype"), DTYPES),
        st.tuples(st.just("count"), st.integers(0, 6)),
        st.tuples(st.just("axes"), AXES),
        st.tuples(st.just("value"), NEW_VALUES),
        st.tuples(st.just("all"), NEW_VALUES),
    ),
    min_size=1,
    max_size=2,
)


def changed(array: np.ndarray, kind: str, to: object) -> np.ndarray | None:
    match kind, to:
        case "drop", _:
            return None
        case "dtype", _:
            return array.astype(to)
        case "count", _:
            return np.resize(array, (to, *array.shape[1:]))
        case "axes", "add":
            return array[..., np.newaxis]
        case "axes", "flatten":
            return array.ravel()
        case "axes", "transpose":
            return array.T
        case "axes", "fortran":
            return np.asfortranarray(array)
        case "axes", _:
            return array.ravel()[:1].reshape(())
        case "value", _:  # the last one, in a dtype that holds both
            values = array.ravel().tolist()
            return np.array([*values[:-1], to]).reshape(array.shape) if values else array
        case _:
            return np.full(array.shape, to)


@mutations(250)
@given(
    names=st.lists(st.sampled_from(ARRAYS), min_size=1, max_size=2), changes=CHANGES,
    compressed=st.booleans(),
)  # fmt: skip
def test_changed_arrays_are_loaded_exactly_if_they_are_valid(
    small, path, one_line, names, changes, compressed
):
    arrays: dict[str, np.ndarray | None] = {n: np.array(getattr(small, n)) for n in ARRAYS}
    for name, (kind, to) in zip(names, changes, strict=False):
        if arrays[name] is not None:
            with warnings.catch_warnings(), contextlib.suppress(ValueError, OverflowError):
                warnings.simplefilter("ignore")  # NumPy warns of casts that lose digits
                arrays[name] = changed(arrays[name], kind, to)
    compression = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    write_npz(path, small, arrays, compression=compression)
    loaded = load_or_none(path, one_line)
    written = {name: array for name, array in arrays.items() if array is not None}
    assert (loaded is not None) == is_valid(written)
    if loaded is not None:
        images = {n: written[n].reshape((*written[n].shape, 1)[:4]) for n in ("x_train", "x_test")}
        labels = {n: written[n].astype(np.int32) for n in ("y_train", "y_test")}
        texts = {n: str(written[n]) for n in ("name", "source")}
        class_names = tuple(written["class_names"].tolist())
        assert_same(loaded, Dataset(**images, **labels, **texts, class_names=class_names))


@mutations(50)
@given(
    name=st.sampled_from(ARRAYS),
    source=st.sampled_from(ARRAYS),
    suffix=st.sampled_from(["", ".npy"]),
)
def test_duplicate_array_is_refused(small, path, one_line, name, source, suffix):
    # Other readers of NPZ files differ in which of the two they return.
    write_npz(path, small, more=((name + suffix, npy(np.array(getattr(small, source)))),))
    assert load_or_none(path, one_line) is None


# Memory.


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("order", ["C", "F"])
def test_reading_takes_a_fraction_of_the_size(large, path, compression, order):
    changes = {"x_train": np.array(large.x_train, order=order)}
    write_npz(path, large, changes, compression=compression)
    assert peak_memory(lambda: load_dataset(path)) < large.x_train.nbytes / 3


@pytest.fixture
def refused(path, one_line) -> Callable[[], tuple[str, int]]:
    """Return a function that loads the file, and returns the message and the peak memory."""

    def read() -> tuple[str, int]:
        messages: list[str] = []

        def load() -> None:
            with pytest.raises(UserError) as caught:
                load_dataset(path)
            messages.append(one_line(caught.value))

        memory = peak_memory(load)
        return messages[0], memory

    return read


def test_zip_bomb_is_not_decompressed(small, path, refused):
    # 64 MiB of zeros in 64 KiB, with a header that claims 24 bytes.
    content = npy_by_hand(U1_HEADER.format("(4, 3, 2, 1)"), bytes(2**26))
    write_npz(path, small, {"x_train": content}, compression=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 2**17
    message, memory = refused()
    assert "x_train claims 24 bytes of data, its part of the file 67,108,864" in message
    assert memory < MAX_PEAK


LARGE_ARRAY = npy_by_hand(U1_HEADER.format(f"({2**16}, 32, 32)"), bytes(2**26))


def test_array_that_the_disk_has_no_room_for_is_not_decompressed(small, path, refused, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2**25))
    write_npz(path, small, {"x_train": LARGE_ARRAY}, compression=zipfile.ZIP_DEFLATED)
    message, memory = refused()
    assert "cannot be decompressed: 67,108,864 bytes are needed on the disk of " in message
    assert "which has 33,554,432; make room there" in message
    assert memory < MAX_PEAK


def test_disk_that_fills_up_while_an_array_is_decompressed_is_named(small, path, refused):
    write_npz(path, small, {"x_train": LARGE_ARRAY}, compression=zipfile.ZIP_DEFLATED)
    with disk_of(2**25):
        message, _ = refused()
    assert "cannot be decompressed: a temporary file in " in message
    assert (
        "could not be written: File too large; free disk space or fix the permissions there"
        in message
    )


@pytest.mark.parametrize("version", [(2, 0), (3, 0)])
def test_header_of_16_mebibytes_is_not_read(small, path, refused, version):
    content = npy_by_hand(b" " * 2**24, version=version)
    write_npz(path, small, {"x_train": content}, compression=zipfile.ZIP_DEFLATED)
    message, memory = refused()
    assert f"x_train has .npy version {version}; allowed: 1.0" in message
    assert memory < MAX_PEAK


def test_millions_of_class_names_are_refused_in_little_memory(large, path, refused):
    # Four bytes each in the file, and many times that as Python strings.
    write_npz(path, large, {"class_names": np.full(2_000_000, "a")})
    message, memory = refused()
    assert "class_names is <U1 [2000000]; allowed: at most 2,000 texts" in message
    assert memory < 2 * path.stat().st_size


def test_millions_of_wrong_labels_are_refused_in_little_memory(small, path, refused):
    images = np.zeros((2_000_000, 2, 1), np.uint8)
    changes = {"x_train": images, "y_train": np.full(2_000_000, 9, np.int8)}
    write_npz(path, small, changes)
    message, memory = refused()
    assert "(2,000,000 are wrong)" in message
    assert memory < 2 * path.stat().st_size


LOAD_WITHIN = """
import resource, sys
from vit_hk.data.dataset import load_dataset
from vit_hk.errors import one_line_errors
limit, field = (resource.RLIMIT_AS, 0) if sys.argv[2] == "AS" else (resource.RLIMIT_DATA, 5)
held = int(open("/proc/self/statm").read().split()[field]) * resource.getpagesize()
resource.setrlimit(limit, (held + 2**25, held + 2**25))
with one_line_errors():
    print(load_dataset(sys.argv[1]).x_train.sum())
"""


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_data_set_may_be_larger_than_memory(small, path, project, compression):
    # 64 MiB with a limit of 32 MiB for all that is not mapped from a file, as `ulimit -d` sets.
    content = npy_by_hand(U1_HEADER.format(f"(4, {2**12}, {2**12})"), b"\1" * 2**26)
    small = dataclasses.replace(small, x_test=np.zeros((2, 2**12, 2**12), np.uint8))
    write_npz(path, small, {"x_train": content}, compression=compression)

    def load_within(limit: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", LOAD_WITHIN, path, limit],
            cwd=project, capture_output=True, text=True, check=False,
        )  # fmt: skip

    assert load_within("DATA").stdout == f"{2**26}\n"
    run = load_within("AS")  # as `ulimit -v` sets: also of what is mapped
    assert run.returncode == 1
    assert run.stderr.startswith(f"error: {path} does not fit into the memory that this process ")
    assert len(run.stderr.splitlines()) == 1
