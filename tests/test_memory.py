from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vit_hk.memory
from vit_hk.division import Division
from vit_hk.errors import UserError
from vit_hk.memory import (
    check_prediction_fits,
    check_training_fits,
    enough_memory,
    free_bytes,
)
from vit_hk.model.vit import make_model, parameter_shapes
from vit_hk.params import ModelSettings


class Device:
    def __init__(self, statistics: dict[str, int] | None) -> None:
        self.statistics = statistics

    def memory_stats(self) -> dict[str, int] | None:
        return self.statistics


@pytest.fixture
def files(tmp_path, monkeypatch):
    """What Linux says of memory: 3 MB are available, a container has no limit."""
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1700\n")
    (tmp_path / "memory.stat").write_text("anon 1000\nactive_file 500\ninactive_file 200\n")
    (tmp_path / "MEMINFO").write_text("MemTotal: 9000 kB\nMemFree: 1 kB\nMemAvailable: 3000 kB\n")
    monkeypatch.setattr(vit_hk.memory, "MEMINFO", tmp_path / "MEMINFO")
    monkeypatch.setattr(vit_hk.memory, "CGROUP", tmp_path)
    return tmp_path


@pytest.mark.usefixtures("files")
def test_free_memory_is_what_linux_calls_available():
    assert free_bytes(Device(None)) == 3000 * 1024


def test_container_may_have_less_and_gives_back_what_it_keeps_of_files(files):
    (files / "memory.max").write_text("1200000\n")
    assert free_bytes(Device(None)) == 1_199_000


@pytest.mark.usefixtures("files")
def test_gpu_tells_for_itself():
    assert free_bytes(Device({"bytes_limit": 700, "bytes_in_use": 200})) == 500


def test_nothing_is_known_elsewhere(files):
    for path in files.iterdir():
        path.unlink()
    assert free_bytes(Device(None)) is None


@pytest.fixture
def model(tree) -> ModelSettings:
    """Two layers, two heads, two registers and no class token."""
    return ModelSettings(**tree["model"])


def divided(piece, platform="cpu"):
    """Two devices, each with pieces of so many images."""
    devices = np.array([SimpleNamespace(platform=platform)] * 2)
    return Division(SimpleNamespace(size=2, devices=devices), pieces=3, piece=piece)


def assert_needs(files, number_of_bytes, check):
    """The check passes with so many bytes free, and not with one less; 1,000 are in use."""
    (files / "MEMINFO").write_text("MemAvailable: 9999 kB")
    (files / "memory.max").write_text(f"{number_of_bytes + 1000}")
    check()
    (files / "memory.max").write_text(f"{number_of_bytes + 999}")
    with pytest.raises(MemoryError, match=r"at least 0\.0 GiB are needed, 0\.0 GiB are free"):
        check()


def test_attention_of_a_batch_must_be_free(files, model):
    # 100 images, 2 heads, 48 patches and 2 registers, 4 bytes each.
    assert_needs(files, 2_000_000, lambda: check_prediction_fits(model, 48, divided(50)))


def test_each_gpu_has_a_memory_of_its_own(files, model):
    division = divided(100, "gpu")
    assert_needs(files, 2_000_000, lambda: check_prediction_fits(model, 48, division))
    needed = 2 * 2_000_000 + 16_000 + 500
    assert_needs(files, needed, lambda: check_training_fits(model, 48, division, 1000, 500, False))


def check_training(model, remat=False):
    """100 images of 48 patches, 1,000 weights, 500 bytes of images."""
    check_training_fits(model, 48, divided(50), 1000, 500, remat)


def test_training_needs_all_layers_and_weights_and_images_for_each_core(files, model):
    # Twice the above, for its two layers; for each core 16 bytes a weight, and all images.
    needed = 2 * 2_000_000 + 2 * (16_000 + 500)
    assert_needs(files, needed, lambda: check_training(model))


def test_with_remat_training_needs_the_tokens_and_one_layer(files, model):
    # One layer; two layers of 100 * 50 tokens of 8 numbers; weights and images.
    needed = 2_000_000 + 320_000 + 2 * (16_000 + 500)
    assert_needs(files, needed, lambda: check_training(model, remat=True))


@pytest.mark.parametrize(
    ("pool", "execution"),
    [("cls", {}), ("gap", {"precision": "bfloat16"}), ("cls", {"remat": True})],
    ids=str,
)
def test_no_more_is_asked_for_than_is_taken(model, monkeypatch, pool, execution):
    # Compared with what the compiler sets aside for one step; a refusal must never be wrong.
    asked = []
    monkeypatch.setattr(vit_hk.memory, "_check_fits", asked.append)
    s = model.model_copy(update={"pool": pool, "patch_size": 1, "num_layers": 3})
    check_training_fits(s, 64, divided(5), 0, 0, remat=execution.get("remat", False))
    images = np.zeros((10, 8, 8, 1), np.float32)
    transformed = make_model(s, 3, **{"scan_layers": True, **execution})
    shapes = parameter_shapes(transformed, images.shape[1:])
    loss = jax.jit(jax.grad(lambda p: transformed.apply(p, None, images, True).logits.sum()))
    taken = loss.lower(shapes).compile().memory_analysis().temp_size_in_bytes
    assert taken / 8 < asked[0] < taken


def test_convolutions_count_too(files, model):
    # Patches of 4 have two convolutions of stride 2; the first makes 2 x 2 pixels of 8 channels
    # of each: for 100 images of 48 patches, 4 bytes each, 614,400.
    model = model.model_copy(update={"stem": "conv"})
    needed = 2 * 2_000_000 + 614_400 + 2 * (16_000 + 500)
    assert_needs(files, needed, lambda: check_training(model))


def test_where_nothing_is_known_nothing_is_refused(monkeypatch, model):
    monkeypatch.setattr(vit_hk.memory, "free_bytes", lambda _: None)
    check_prediction_fits(model, 10**6, divided(10**6))


def allocate_with_jax() -> None:
    jnp.zeros(2**44, jnp.uint8).block_until_ready()


def allocate_with_numpy() -> None:
    np.ones(2**50, np.uint8)


def raise_the_bare_error() -> None:
    raise MemoryError


@pytest.mark.parametrize(
    ("allocate", "problem"),
    [
        (allocate_with_jax, "Out of memory allocating 17592186044416 bytes"),
        (allocate_with_numpy, "Unable to allocate 1.00 PiB"),
        (raise_the_bare_error, "allocation failed"),
    ],
)
def test_lack_of_memory_names_the_settings_to_lower(allocate, problem, one_line):
    with pytest.raises(UserError) as caught, enough_memory("train.batch_size"):
        allocate()
    message = one_line(caught.value)
    assert message.startswith("not enough memory (")
    assert problem in message
    assert "lower in params.yaml: train.batch_size, model.hidden_size, " in message


def test_other_errors_pass():
    with pytest.raises(ZeroDivisionError), enough_memory("train.batch_size"):
        raise ZeroDivisionError
    with pytest.raises(jax.errors.JaxRuntimeError), enough_memory("train.batch_size"):
        raise jax.errors.JaxRuntimeError("INTERNAL: something else")
