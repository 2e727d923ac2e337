import os
import subprocess
import sys

import jax
import pytest

from vit_hk.device import select_device
from vit_hk.errors import UserError


class Device:
    def __init__(self, platform: str) -> None:
        self.platform = platform


@pytest.mark.parametrize("platform", ["auto", "gpu"])
def test_gpu_is_taken_where_there_is_one(monkeypatch, platform):
    devices = [Device("gpu"), Device("gpu")]
    monkeypatch.setattr(jax, "devices", lambda: devices)
    assert select_device(platform) is devices[0]


def test_auto_takes_the_cpu_where_there_is_no_gpu(monkeypatch):
    device = Device("cpu")
    monkeypatch.setattr(jax, "devices", lambda: [device])
    assert select_device("auto") is device


def test_missing_gpu_says_what_to_do(monkeypatch, one_line):
    monkeypatch.setattr(jax, "devices", lambda: [Device("cpu")])
    with pytest.raises(UserError) as caught:
        select_device("gpu")
    message = one_line(caught.value)
    assert "train.platform is gpu, but JAX sees only cpu" in message
    assert "pip install -r requirements-gpu.txt" in message


def test_cpu_is_taken_even_where_jax_is_told_otherwise(project):
    code = "from vit_hk.device import select_device; print(select_device('cpu').platform)"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=project, env=os.environ | {"JAX_PLATFORMS": "cuda"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert run.stdout == "cpu\n"


def test_folder_that_the_locale_cannot_spell_ends_in_one_line(monkeypatch, one_line):
    # As an ASCII locale reads "Projékt"; JAX would end with std::bad_cast.
    monkeypatch.setattr("os.getcwd", lambda: "/home/Proj\udcc3\udca9kt")
    with pytest.raises(UserError) as caught:
        select_device("cpu")
    assert "unset PYTHONUTF8, or set LC_ALL=C.UTF-8" in one_line(caught.value)


@pytest.mark.parametrize("failure", [RuntimeError, AssertionError])
def test_jax_without_any_device_ends_in_one_line(monkeypatch, one_line, failure):
    # What jax.devices() raises, depending on what JAX_PLATFORMS names.
    def fail() -> None:
        raise failure("Unable to initialize\nbackend")

    monkeypatch.setattr(jax, "devices", fail)
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    with pytest.raises(UserError) as caught:
        select_device("auto")
    assert "JAX_PLATFORMS is 'cuda'; unset it" in one_line(caught.value)


COMPUTE = (
    "import jax; from vit_hk.device import select_device; select_device('cpu'); "
    "print(jax.jit(lambda x: x * 3 + 1)(2))"
)


@pytest.fixture(autouse=True)
def no_folder_chosen(monkeypatch):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)


def compute(project, **environment) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", COMPUTE], cwd=project, env=os.environ | environment,
        capture_output=True, text=True, check=True,
    )  # fmt: skip


def test_what_is_compiled_is_kept_in_the_root_that_dvc_names(project, tmp_path):
    compute(project, DVC_ROOT=str(tmp_path))
    assert list((tmp_path / ".scratch/compiled").glob("*-cache"))


def test_what_is_compiled_is_kept_where_the_user_says(project, tmp_path):
    chosen = tmp_path / "chosen"
    chosen.mkdir()
    (chosen / "of-another-program-cache").touch()
    compute(project, DVC_ROOT=str(tmp_path), JAX_COMPILATION_CACHE_DIR=str(chosen))
    assert len(list(chosen.glob("*-cache"))) > 1
    assert (chosen / "of-another-program-cache").exists()
    assert not (tmp_path / ".scratch").exists()


def test_what_is_compiled_is_used_again(project, tmp_path):
    environment = {"DVC_ROOT": str(tmp_path), "JAX_LOG_COMPILES": "1"}
    first, again = compute(project, **environment), compute(project, **environment)
    assert first.stdout == again.stdout == "7\n"
    assert "Persistent compilation cache hit" not in first.stderr
    assert "Persistent compilation cache hit for 'jit__lambda'" in again.stderr


def truncate(kept) -> None:
    kept.write_bytes(kept.read_bytes()[:50])


def flip_a_bit(kept) -> None:
    damaged = bytearray(kept.read_bytes())
    damaged[len(damaged) // 2] ^= 4
    kept.write_bytes(damaged)


@pytest.mark.parametrize("damage", [truncate, flip_a_bit])
def test_damaged_file_of_compiled_code_is_not_used(project, tmp_path, damage):
    compute(project, DVC_ROOT=str(tmp_path))
    for kept in (tmp_path / ".scratch/compiled").glob("*-cache"):
        damage(kept)
    run = compute(project, DVC_ROOT=str(tmp_path))
    assert run.stdout == "7\n"
    assert "Error reading persistent compilation cache" in run.stderr


def test_half_of_what_a_killed_process_was_keeping_goes_without_a_warning(project, tmp_path):
    compute(project, DVC_ROOT=str(tmp_path))
    for kept in (tmp_path / ".scratch/compiled").glob("*-cache"):
        truncate(kept)
        kept.with_name(kept.name.removesuffix("cache") + "atime").unlink()
    run = compute(project, DVC_ROOT=str(tmp_path))
    assert (run.stdout, run.stderr) == ("7\n", "")
    assert len(list((tmp_path / ".scratch/compiled").glob("*-atime"))) > 0


def test_compiled_code_that_cannot_be_kept_stops_nothing(project, tmp_path):
    (tmp_path / ".scratch").write_text("a file, no folder")
    assert compute(project, DVC_ROOT=str(tmp_path)).stdout == "7\n"
