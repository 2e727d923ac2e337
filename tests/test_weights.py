import dataclasses
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from safetensors import safe_open

from vit_hk.calibration import Calibration
from vit_hk.data.dataset import Dataset
from vit_hk.errors import UserError
from vit_hk.model.vit import make_model
from vit_hk.params import ModelSettings
from vit_hk.runtime import memory
from vit_hk.weights import load_weights, read_weights, save_weights
from vit_hk.weights_metadata import MAX_HEADER, WeightsInfo

SHAPE = (4, 4, 2)
CLASSES = ("a", "b", "c")


@pytest.fixture(scope="module")
def model() -> ModelSettings:
    return ModelSettings(
        patch_size=2, stem="linear", hidden_size=4, num_layers=1, num_heads=1, mlp_dim=2,
        pool="cls", position="learned", dropout=0.0, drop_path=0.0, qk_norm=False, registers=1,
        gelu="erf", norm_eps=1e-6,
    )  # fmt: skip


@pytest.fixture(scope="module")
def data() -> Dataset:
    images, labels = np.zeros((3, *SHAPE), np.uint8), np.arange(3, dtype=np.int32)
    return Dataset(images, labels, images, labels, "mnist", "made for a test", CLASSES)


@pytest.fixture(scope="module")
def info(model) -> WeightsInfo:
    return WeightsInfo(
        model=model, data="mnist", source="made for a test", class_names=list(CLASSES),
        preparation=None,
        image_shape=list(SHAPE), mean=[0.1, 1 / 3], std=[0.2, 0.3], seed=5,
        validation_fraction=0.1,
    )  # fmt: skip


@pytest.fixture(scope="module")
def params(model) -> dict[str, dict[str, np.ndarray]]:
    """Return random tensors, with a few numbers that only a bitwise copy preserves."""
    shapes = jax.eval_shape(
        lambda x: make_model(model, 3).init(jax.random.key(0), x), np.zeros((1, *SHAPE))
    )
    random = np.random.default_rng(0)
    drawn = jax.tree.map(lambda x: random.normal(size=x.shape).astype(np.float32), shapes)
    drawn["vit/head"]["b"][:] = [np.float32(1e-45), -0.0, np.finfo(np.float32).max]
    return drawn


CALIBRATION = Calibration(
    temperature=np.float32(1.5),
    class_means=np.arange(12, dtype=np.float32).reshape(3, 4),
    whitening=np.eye(4, dtype=np.float32),
    threshold=np.float32(3.0),
    border_range=np.float32([0.1, 0.2]),
)


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "vit.safetensors"


@pytest.fixture
def refuse(path, one_line, model, data) -> Callable[..., str]:
    """Return a function that gives the error message about the file, without its path."""

    def read(settings: ModelSettings = model, dataset: Dataset = data) -> str:
        with pytest.raises(UserError) as caught:
            load_weights(path, settings, dataset)
        message = one_line(caught.value)
        assert message.startswith(str(path))
        return message.removeprefix(str(path))

    return read


@pytest.fixture
def edit(path, params, info) -> Callable[..., None]:
    """Return a function that changes the metadata, the header or the data of saved weights."""
    save_weights(path, params, info)
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])

    def change(
        metadata: dict[str, Any] | None = None,
        header: Callable[[dict], Any] = lambda _: None,
        body: Callable[[bytes], bytes] = lambda data: data,
    ) -> None:
        parsed = json.loads(raw[8 : 8 + length])
        if metadata is not None:
            changed = json.loads(parsed["__metadata__"]["vit_hk"]) | metadata
            parsed["__metadata__"]["vit_hk"] = json.dumps(changed)
        header(parsed)
        text = json.dumps(parsed).encode()
        path.write_bytes(struct.pack("<Q", len(text)) + text + body(raw[8 + length :]))

    return change


def test_loaded_weights_equal_the_saved_ones_bit_by_bit(path, params, info, model, data):
    save_weights(path, params, info)
    loaded, loaded_info, _ = load_weights(path, model, data)
    assert loaded_info == info
    assert {m: set(leaves) for m, leaves in loaded.items()} == {
        m: set(leaves) for m, leaves in params.items()
    }
    for module, leaves in params.items():
        for name, value in leaves.items():
            assert loaded[module][name].dtype == np.float32
            assert loaded[module][name].shape == value.shape
            assert loaded[module][name].tobytes() == value.tobytes()


def test_model_computes_the_same_with_loaded_weights(path, params, info, model, data):
    save_weights(path, params, info)
    loaded = load_weights(path, model, data).params
    images = np.ones((2, *SHAPE), np.float32)
    before, after = (make_model(model, 3).apply(p, images) for p in (params, loaded))
    np.testing.assert_array_equal(before.logits, after.logits)


def test_same_weights_give_the_same_bytes(tmp_path, params, info):
    # The order of a dictionary does not matter.
    reordered = {
        module: dict(reversed(leaves.items())) for module, leaves in reversed(params.items())
    }
    save_weights(tmp_path / "a", params, info)
    save_weights(tmp_path / "b", reordered, info)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_safetensors_can_read_the_file(path, params, info):
    save_weights(path, params, info)
    with safe_open(path, "np") as file:
        np.testing.assert_array_equal(file.get_tensor("vit/head/w"), params["vit/head"]["w"])
        assert json.loads(file.metadata()["vit_hk"]) == info.model_dump()


def test_header_that_no_reader_accepts_is_not_written(path, params, info, one_line):
    path.write_bytes(b"former weights")
    with pytest.raises(UserError) as caught:
        save_weights(path, params, info.model_copy(update={"class_names": ["x" * MAX_HEADER]}))
    assert "the class names make its header 8," in one_line(caught.value)
    assert path.read_bytes() == b"former weights"


def test_weights_larger_than_the_free_memory_are_not_read(path, params, info, monkeypatch):
    save_weights(path, params, info)
    size = path.stat().st_size
    monkeypatch.setattr(memory, "free_host_bytes", lambda: size)
    read_weights(path)
    monkeypatch.setattr(memory, "free_host_bytes", lambda: size - 1)
    with pytest.raises(UserError, match=r"vit\.safetensors does not fit into memory \(at least"):
        read_weights(path)


def test_file_has_the_usual_permissions(path, params, info):
    save_weights(path, params, info)
    (path.parent / "other").write_text("")
    assert path.stat().st_mode == (path.parent / "other").stat().st_mode


def test_missing_file_is_refused_with_the_command_that_makes_it(refuse):
    assert refuse() == " is not there; make it with: dvc repro train"


def test_folder_is_refused(path, refuse):
    path.mkdir()
    assert refuse() == " is no file; make it with: dvc repro train"


@pytest.mark.parametrize("content", [b"", b"\0" * 8, b"garbage" * 50, b"\xff" * 20, b"PK\x03\x04"])
def test_garbage_is_refused(path, refuse, content):
    path.write_bytes(content)
    message = refuse()
    assert "is not a weights file of this project" in message
    assert "dvc repro --force --single-item train" in message


def test_file_that_is_truncated_anywhere_is_refused(path, params, info, refuse):
    save_weights(path, params, info)
    whole = path.read_bytes()
    for length in [*range(0, len(whole), 97), len(whole) - 1]:
        path.write_bytes(whole[:length])
        assert "is not a weights file of this project" in refuse(), length


def test_file_without_metadata_is_refused(edit, refuse):
    edit(header=lambda header: header.pop("__metadata__"))
    assert "no valid vit_hk in its metadata" in refuse()


def test_other_version_of_the_metadata_is_named_with_both_values(edit, refuse):
    edit({"version": 2})
    message = refuse()
    assert "version 2 there, 1 here" in message
    assert "dvc repro --force --single-item train" in message


def test_unknown_key_of_the_metadata_is_named(edit, refuse):
    edit({"tokenizer": "bytes"})
    assert "'tokenizer' is unknown" in refuse()


@pytest.mark.parametrize(
    "metadata",
    [
        {"mean": [0.1]},
        {"std": [0.2, 0.0]},
        {"std": [0.2, 0.3, 0.4]},
        {"mean": [1e300, 0.1]},
        {"seed": -1},
        {"validation_fraction": 1.5},
        {"model": {}},
        {"class_names": ["a"]},
        {"image_shape": [4, 4]},
        {"more": 1},
    ],
    ids=str,
)
def test_invalid_metadata_is_refused(edit, refuse, metadata):
    edit(metadata)
    assert "no valid vit_hk in its metadata" in refuse()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("patch_size", 1),
        ("stem", "conv"),
        ("hidden_size", 8),
        ("num_layers", 2),
        ("num_heads", 2),
        ("mlp_dim", 3),
        ("pool", "gap"),
        ("position", "sincos2d"),
        ("dropout", 0.5),
        ("drop_path", 0.5),
        ("qk_norm", True),
        ("registers", 0),
    ],
)
def test_other_architecture_is_named_with_both_values(
    path, params, info, model, refuse, key, value
):
    save_weights(path, params, info)
    other = ModelSettings(**{**model.model_dump(), key: value})
    message = refuse(settings=other)
    assert f"model.{key} {getattr(model, key)!r} there, {value!r} here" in message
    assert message.count(" there, ") == 1
    assert "dvc repro" in message


def test_all_differences_are_named(path, params, info, model, refuse):
    save_weights(path, params, info)
    other = ModelSettings(**{**model.model_dump(), "num_layers": 3, "mlp_dim": 5})
    message = refuse(settings=other)
    assert "model.num_layers 1 there, 3 here" in message
    assert "model.mlp_dim 2 there, 5 here" in message


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"name": "kmnist"}, "data 'mnist' there, 'kmnist' here"),
        ({"source": "torchvision"}, "source 'made for a test' there, 'torchvision' here"),
        ({"class_names": ("a", "b", "d")}, "classes ['a', 'b', 'c'] there, ['a', 'b', 'd'] here"),
        ({"x_train": np.zeros((3, 4, 6, 2), np.uint8)}, "image shape [4, 4, 2] there, [4, 6, 2]"),
    ],
)
def test_other_data_set_is_named_with_both_values(path, params, info, data, refuse, change, found):
    save_weights(path, params, info)
    assert found in refuse(dataset=dataclasses.replace(data, **change))


def test_line_break_in_the_metadata_is_escaped(edit, refuse):
    edit({"source": "two\nlines"})
    assert r"'two\nlines' there" in refuse()


def test_tensor_of_wrong_shape_is_named(path, params, info, refuse):
    changed = {**params, "vit/head": {**params["vit/head"], "w": np.zeros((4, 7), np.float32)}}
    save_weights(path, changed, info)
    message = refuse()
    assert (
        "tensor 'vit/head/w' is float32 [4, 7], its own settings require float32 [4, 3]" in message
    )


def test_tensor_of_wrong_type_is_named(path, params, info, refuse):
    changed = {**params, "vit/head": {**params["vit/head"], "b": np.zeros(3, np.float16)}}
    save_weights(path, changed, info)
    message = refuse()
    assert "tensor 'vit/head/b' is float16 [3], its own settings require float32 [3]" in message


def test_missing_tensor_is_named(path, params, info, refuse):
    save_weights(path, {**params, "vit/head": {"w": params["vit/head"]["w"]}}, info)
    assert "tensor 'vit/head/b' is missing, its own settings require float32 [3]" in refuse()


def test_extra_tensor_is_named(path, params, info, refuse):
    save_weights(path, {**params, "vit/more": {"w": np.zeros(2, np.float32)}}, info)
    assert "tensor 'vit/more/w' is float32 [2], its own settings require none" in refuse()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_tensor_that_is_not_finite_is_named(path, params, info, refuse, value):
    changed = {**params, "vit/head": {**params["vit/head"], "b": np.float32([0, value, 0])}}
    save_weights(path, changed, info)
    assert "tensor 'vit/head/b' has numbers that are not finite" in refuse()


def test_calibration_is_read_bit_by_bit_and_apart_from_the_parameters(
    path, params, info, model, data
):
    save_weights(path, params, info, CALIBRATION)
    weights = read_weights(path)
    assert weights.info == info
    for found, saved in zip(weights.calibration, CALIBRATION, strict=True):
        assert (found.dtype, found.shape) == (np.float32, saved.shape)
        assert found.tobytes() == saved.tobytes()
    for loaded in (weights.params, load_weights(path, model, data).params):
        assert jax.tree.map(np.shape, loaded) == jax.tree.map(np.shape, params)


def test_calibration_changes_no_parameter(tmp_path, params, info):
    save_weights(tmp_path / "a", params, info)
    save_weights(tmp_path / "b", params, info, CALIBRATION)
    with safe_open(tmp_path / "a", "np") as a, safe_open(tmp_path / "b", "np") as b:
        assert a.metadata() == b.metadata()
        assert {n for n in b.keys() if not n.startswith("calibration/")} == set(a.keys())  # noqa: SIM118
        for name in a.keys():  # noqa: SIM118
            assert a.get_tensor(name).tobytes() == b.get_tensor(name).tobytes()


def test_file_without_calibration_has_none(path, params, info):
    save_weights(path, params, info)
    assert read_weights(path).calibration is None


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"whitening": np.eye(3)}, "whitening' is float64 [3, 3], its own settings require"),
        ({"class_means": np.zeros((3, 4))}, "class_means' is float64 [3, 4], its own settings"),
        ({"threshold": np.float32([3.0])}, "threshold' is float32 [1], its own settings require"),
        ({"threshold": np.float32("nan")}, "threshold' has numbers that are not finite"),
        ({"border_range": np.float32([0, "inf"])}, "border_range' has numbers that are not finite"),
        ({"temperature": np.float32(0.0)}, "temperature' is 0.0; allowed: more than 0"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)  # fmt: skip
def test_wrong_calibration_is_named(path, params, info, refuse, change, problem):
    save_weights(path, params, info, CALIBRATION._replace(**change))
    message = refuse()
    assert f"tensor 'calibration/{problem}" in message
    assert message.endswith("dvc repro --force --single-item train")


@pytest.mark.parametrize("name", Calibration._fields)
def test_missing_tensor_of_the_calibration_is_named(path, params, info, refuse, name):
    leaves = {key: np.asarray(value) for key, value in CALIBRATION._asdict().items() if key != name}
    save_weights(path, {**params, "calibration": leaves}, info)
    assert f"tensor 'calibration/{name}' is missing" in refuse()


def test_jax_shares_the_memory_of_loaded_weights_between_devices(info, params, tmp_path):
    path = tmp_path / "vit.safetensors"
    save_weights(path, params, info)
    mesh = jax.sharding.Mesh(jax.devices(), ("data",))
    replicated = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    assert mesh.size == 2
    for array in jax.tree.leaves(read_weights(path).params):
        shards = jax.device_put(array, replicated).addressable_shards
        assert {s.data.unsafe_buffer_pointer() for s in shards} == {array.ctypes.data}
