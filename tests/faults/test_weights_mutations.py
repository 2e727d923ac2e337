"""A thousand damaged weights files: the right weights or one line, and never much memory."""

import functools
import json
import os
import pickle
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mutations import mutations

from vit_hk.data.dataset import Dataset
from vit_hk.errors import UserError
from vit_hk.model.vit import make_model, parameter_shapes
from vit_hk.params import ModelSettings
from vit_hk.weights import load_weights, save_weights
from vit_hk.weights_metadata import MAX_HEADER, WeightsInfo

SHAPE = (4, 4, 2)
CLASSES = ("a", "b", "c")
MODEL = ModelSettings(
    patch_size=2, stem="linear", hidden_size=4, num_layers=1, num_heads=1, mlp_dim=2,
    pool="cls", position="learned", dropout=0.0, drop_path=0.0, qk_norm=False, registers=1,
    gelu="erf", norm_eps=1e-6,
)  # fmt: skip
IMAGES, LABELS = np.zeros((3, *SHAPE), np.uint8), np.arange(3, dtype=np.int32)
DATA = Dataset(IMAGES, LABELS, IMAGES, LABELS, "mnist", "made for a test", CLASSES)
INFO = WeightsInfo(
    model=MODEL, data="mnist", source="made for a test", class_names=list(CLASSES),
    preparation=None,
    image_shape=list(SHAPE), mean=[0.1, 1 / 3], std=[0.2, 0.3], seed=5, validation_fraction=0.1,
)  # fmt: skip
Weights = dict[str, dict[str, np.ndarray]]


MODELS = functools.cache(make_model)
SHAPES = functools.cache(parameter_shapes)


@pytest.fixture(autouse=True)
def _traced_once(monkeypatch) -> None:
    """Trace each model once, not for each file."""
    monkeypatch.setattr("vit_hk.weights.make_model", MODELS)
    monkeypatch.setattr(
        "vit_hk.weights.parameter_shapes", lambda model, shape: SHAPES(model, tuple(shape))
    )


@pytest.fixture(scope="module")
def weights() -> Weights:
    shapes = parameter_shapes(make_model(MODEL, 3), SHAPE)
    random = np.random.default_rng(0)
    return jax.tree.map(lambda x: random.normal(size=x.shape).astype(np.float32), shapes)


@pytest.fixture(scope="module")
def valid(weights, tmp_path_factory) -> bytes:
    """Return the content of a valid file."""
    path = tmp_path_factory.mktemp("weights") / "vit.safetensors"
    save_weights(path, weights, INFO)
    return path.read_bytes()


@pytest.fixture
def load(tmp_path, one_line) -> Callable[[bytes], Weights | str]:
    """Return a function that loads content as a file, and returns weights or the message."""
    path = tmp_path / "vit.safetensors"

    def read(content: bytes) -> Weights | str:
        path.write_bytes(content)
        return load_or_message(path, one_line)

    return read


def load_or_message(path: Path, one_line: Callable[[Exception], str]) -> Weights | str:
    """Return the weights, or the message of a UserError that names the file."""
    try:
        loaded, info, _ = load_weights(path, MODEL, DATA)
    except UserError as error:
        message = one_line(error)
    else:
        assert info.model == MODEL
        return loaded
    assert message.startswith(str(path))
    assert len(message) < 2000
    return message


def same(left: Weights | str, right: Weights) -> bool:
    return not isinstance(left, str) and all(
        left[module][name].tobytes() == value.tobytes() and left[module][name].shape == value.shape
        for module, leaves in right.items()
        for name, value in leaves.items()
    )


def split(content: bytes) -> tuple[dict[str, Any], bytes]:
    """Return the header and the data of a safetensors file."""
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def join(header: object, data: bytes) -> bytes:
    """Return a safetensors file with a header, which may be raw bytes, and data."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


@mutations(300)
@given(edits=st.lists(st.tuples(st.integers(0), st.integers(1, 255)), min_size=1, max_size=3))
def test_flipped_bits_of_the_header_are_refused_or_keep_the_shapes(load, weights, valid, edits):
    raw = bytearray(valid)
    (length,) = struct.unpack("<Q", raw[:8])
    for position, change in edits:
        raw[position % (8 + length)] ^= change
    loaded = load(bytes(raw))
    if not isinstance(loaded, str):
        # Changed is a mean or the position of a tensor in the file: the data has no checksum.
        assert jax.tree.map(np.shape, loaded) == jax.tree.map(np.shape, weights)


@mutations(150)
@given(position=st.integers(0), change=st.integers(1, 255))
def test_flipped_bits_of_the_data_are_loaded_or_refused_as_not_finite(
    load, valid, position, change
):
    header, data = split(valid)
    changed = bytearray(data)
    changed[position % len(data)] ^= change
    loaded = load(join(header, bytes(changed)))
    if isinstance(loaded, str):
        assert "has numbers that are not finite" in loaded
    else:
        for name, entry in header.items():
            if name != "__metadata__":
                start, end = entry["data_offsets"]
                module, leaf = name.rsplit("/", 1)
                assert loaded[module][leaf].tobytes() == bytes(changed[start:end])


@mutations(200)
@given(start=st.floats(0, 1), length=st.integers(0, 400), inserted=st.binary(max_size=30))
def test_deleted_and_inserted_bytes_are_refused(load, weights, valid, start, length, inserted):
    position = int(start * len(valid))
    content = valid[:position] + inserted + valid[position + length :]
    loaded = load(content)
    if len(content) != len(valid):
        assert isinstance(loaded, str)
    elif content == valid:
        assert same(loaded, weights)


NUMBERS = st.integers(-2, 200) | st.sampled_from([2**31, 2**63, 2**64, 10**30, 1.5])
ENTRIES = st.fixed_dictionaries(
    {},
    optional={
        "dtype": st.sampled_from(["F32", "F16", "BF16", "F8_E4M3", "F4", "I64", "BOOL", "X", 3]),
        "shape": st.lists(NUMBERS, max_size=5) | st.none(),
        "data_offsets": st.lists(NUMBERS, max_size=3),
    },
)


@mutations(250)
@given(number=st.integers(0, 99), entry=ENTRIES, rename=st.none() | st.text(max_size=9))
def test_any_entry_of_a_tensor_is_valid_or_refused(load, weights, valid, number, entry, rename):
    header, data = split(valid)
    names = [key for key in header if key != "__metadata__"]
    chosen = names[number % len(names)]
    changed = {**header, chosen: header[chosen] | entry}
    if rename is not None:
        changed[rename] = changed.pop(chosen)
    loaded = load(join(changed, data))
    assert same(loaded, weights) == (changed == header)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4)
    ),
    max_leaves=9,
)
KEYS = st.sampled_from(sorted(WeightsInfo.model_fields))


@mutations(250)
@given(key=KEYS | st.text(max_size=9), value=JSON)
def test_any_metadata_is_valid_or_refused(load, weights, valid, key, value):
    header, data = split(valid)
    metadata = json.loads(header["__metadata__"]["vit_hk"]) | {key: value}
    header["__metadata__"]["vit_hk"] = json.dumps(metadata)
    loaded = load(join(header, data))
    assert isinstance(loaded, str) or same(loaded, weights)
    if key not in WeightsInfo.model_fields:
        assert isinstance(loaded, str)


@pytest.mark.parametrize(
    "text",
    ["", "3", "[]", "null", "{" * 9000, "[" * 90_000, '{"model": ' * 500, '"\\ud800"',
     "9" * 9000, '{"seed": 1e999}', "nonsense", '{"version": ' + "9" * 5000 + "}"],
    ids=lambda text: text[:9],
)  # fmt: skip
def test_invalid_metadata_is_refused(load, valid, text):
    header, data = split(valid)
    header["__metadata__"]["vit_hk"] = text
    assert "no valid vit_hk in its metadata: " in load(join(header, data))


@pytest.mark.parametrize(
    "header",
    [b"", b"{}", b"[]", b"{" * 50_000, b"\xff" * 99, b'{"__metadata__": 3}',
     b'{"__metadata__": {"vit_hk": 3}}', b'{"a": {"dtype": "F32"}}', b'{"a": ' * 900, b" " * 99],
    ids=lambda text: ascii(text[:12]),
)  # fmt: skip
def test_invalid_header_is_refused(load, valid, header):
    assert "is not a weights file of this project" in load(join(header, split(valid)[1]))


class Trap:
    """An object that creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def test_pickled_weights_are_refused_and_run_no_code(load, tmp_path):
    # Weights are often pickled, for example by torch.save.
    assert "is not a weights file" in load(pickle.dumps(Trap(tmp_path / "created")))
    assert not (tmp_path / "created").exists()


@pytest.mark.parametrize("claimed", [MAX_HEADER + 1, 10**8, 2**40, 2**64 - 1])
def test_huge_header_is_refused_before_memory_is_allocated(tmp_path, one_line, claimed):
    path = tmp_path / "vit.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", claimed) + b"{")
        file.truncate(2**33)  # a sparse file, which takes no space on the disk
    message, memory = measure_memory(lambda: load_or_message(path, one_line))
    assert f"its header claims {claimed:,} bytes" in message
    assert memory < 1e6


def test_tensor_of_gigabytes_is_refused_before_memory_is_allocated(tmp_path, one_line, valid):
    header, data = split(valid)
    size = 2**33
    header["vit/more/w"] = {
        "dtype": "F32", "shape": [size // 4], "data_offsets": [len(data), len(data) + size],
    }  # fmt: skip
    path = tmp_path / "vit.safetensors"
    content = join(header, data)
    path.write_bytes(content)
    os.truncate(path, len(content) + size)
    message, memory = measure_memory(lambda: load_or_message(path, one_line))
    assert "tensor 'vit/more/w' is float32 [2147483648], its own settings require none" in message
    assert memory < 5e6


def test_reading_takes_less_than_twice_the_size(tmp_path, one_line, monkeypatch, weights):
    # The comparison with the model is tested above; this measures the reading of 16 MB only.
    monkeypatch.setattr("vit_hk.weights._check_shapes", lambda *_: None)
    big = {**weights, "vit/head": {"w": np.zeros((2000, 2000), np.float32)}}
    save_weights(tmp_path / "vit.safetensors", big, INFO)
    loaded, memory = measure_memory(lambda: load_or_message(tmp_path / "vit.safetensors", one_line))
    assert not isinstance(loaded, str), loaded
    assert memory < 2 * 16e6


def measure_memory(read: Callable[[], Any]) -> tuple[Any, int]:
    """Return a result, and the peak of the memory that Python and NumPy held meanwhile."""
    tracemalloc.start()
    try:
        return read(), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
