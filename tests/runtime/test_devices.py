import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from filelock import FileLock

from vit_hk.errors import UserError
from vit_hk.process_limits import usable_cores
from vit_hk.runtime.devices import (
    MAX_CACHE_ENTRIES,
    MAX_KERNELS,
    _remove_useless_entries,
    configure_cpu,
    configure_jax,
)


class Device:
    """A stand-in for a jax.Device."""

    def __init__(self, platform: str) -> None:
        self.platform = platform


@pytest.mark.parametrize("platform", ["auto", "gpu"])
def test_gpu_is_used_where_there_is_one(monkeypatch, platform):
    gpus = [Device("gpu"), Device("gpu")]
    monkeypatch.setattr(jax, "local_devices", lambda: gpus)
    assert configure_jax(platform) is gpus[0]


def test_auto_uses_the_cpu_where_there_is_no_gpu(monkeypatch):
    cpu = Device("cpu")
    monkeypatch.setattr(jax, "local_devices", lambda: [cpu])
    assert configure_jax("auto") is cpu


def test_missing_gpu_ends_in_one_line_that_names_the_remedy(monkeypatch, one_line):
    monkeypatch.setattr(jax, "local_devices", lambda: [Device("cpu")])
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    with pytest.raises(UserError) as caught:
        configure_jax("gpu")
    message = one_line(caught.value)
    assert "platform is gpu, but JAX sees only cpu" in message
    assert "pip install -r requirements-gpu.txt" in message
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")  # hides a GPU, whatever is installed
    with pytest.raises(UserError, match="unset JAX_PLATFORMS, which is 'cpu', or set platform to"):
        configure_jax("gpu")


def run_python(project, code, **environment) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", code], cwd=project, env=os.environ | environment,
        capture_output=True, text=True, check=True,
    )  # fmt: skip


def test_folder_that_the_locale_cannot_encode_ends_in_one_line(monkeypatch, one_line):
    # This is how an ASCII locale decodes "Projékt"; JAX would end with std::bad_cast.
    monkeypatch.setattr("os.getcwd", lambda: "/home/Proj\udcc3\udca9kt")
    with pytest.raises(UserError) as caught:
        configure_jax("cpu")
    assert "unset PYTHONUTF8, or set LC_ALL=C.UTF-8" in one_line(caught.value)


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (RuntimeError("Unable to initialize\nbackend"), " (Unable to initialize backend)"),
        (AssertionError(), ""),
    ],
)
def test_jax_without_any_device_ends_in_one_line(monkeypatch, one_line, failure, reason):
    # What jax.local_devices() raises depends on the value of JAX_PLATFORMS.
    def fail() -> None:
        raise failure

    monkeypatch.setattr(jax, "local_devices", fail)
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    with pytest.raises(UserError) as caught:
        configure_jax("auto")
    message = one_line(caught.value)
    assert message.startswith(f"JAX finds no device{reason}; JAX_PLATFORMS is 'cuda'; unset it")
    monkeypatch.delenv("JAX_PLATFORMS")
    with pytest.raises(UserError) as caught:
        configure_jax("auto")
    message = one_line(caught.value)
    assert message.startswith(f"JAX finds no device{reason}; set JAX_PLATFORMS=cpu in the")


COUNT = (
    "import jax; from vit_hk.runtime.devices import configure_jax; configure_jax('cpu'); "
    "print(jax.device_count())"
)


def test_each_usable_core_is_a_device_even_where_another_platform_is_named(project, monkeypatch):
    monkeypatch.delenv("JAX_NUM_CPU_DEVICES")
    assert int(run_python(project, COUNT, JAX_PLATFORMS="cuda").stdout) == usable_cores()


def test_number_of_devices_that_the_user_has_set_is_kept(project):
    assert int(run_python(project, COUNT, JAX_NUM_CPU_DEVICES="3").stdout) == 3


COLUMN_SUMS = """
import os, jax, numpy as np
from vit_hk.runtime.devices import configure_jax
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
configure_jax("cpu")
x = np.random.default_rng(0).normal(size=(300, 1000)).astype("f4")
print(np.asarray(jax.jit(lambda x: x.sum(0))(x)).tobytes().hex())
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="only Linux binds to cores")
def test_a_process_that_is_bound_to_one_core_sums_as_with_more_threads(project):
    many = run_python(project, COLUMN_SUMS, JAX_NUM_CPU_DEVICES="1", NPROC="8").stdout
    assert run_python(project, COLUMN_SUMS, JAX_NUM_CPU_DEVICES="1", NPROC="").stdout == many


def test_xla_has_two_threads_where_it_is_told_one(monkeypatch):
    for number, used in (("1", "2"), ("2", "2"), ("8", "8")):  # the first as NPROC=$(nproc) may be
        monkeypatch.setenv("NPROC", number)
        configure_cpu()
        assert os.environ["NPROC"] == used


COMPUTE = (
    "import jax; from vit_hk.runtime.devices import configure_jax; configure_jax('cpu'); "
    "print(jax.jit(lambda x: x * 3 + 1)(2))"
)


@pytest.fixture(autouse=True)
def default_compilation_cache(monkeypatch):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)


def cache_entries(folder: Path) -> list[Path]:
    return list((folder / ".scratch/compiled").glob("*-cache"))


@pytest.fixture(scope="module")
def first_process(project, tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess]:
    """Return a folder in which a process has compiled, and the process."""
    folder = tmp_path_factory.mktemp("computed")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
        run = run_python(project, COMPUTE, DVC_ROOT=str(folder), JAX_LOG_COMPILES="1")
    shutil.copytree(folder / ".scratch", folder / "kept")
    return folder, run


@pytest.fixture
def computed(first_process) -> Path:
    """Return the folder as the first process left it; its path is a part of JAX's keys."""
    folder, _ = first_process
    shutil.rmtree(folder / ".scratch")
    shutil.copytree(folder / "kept", folder / ".scratch")
    return folder


def test_compilation_cache_that_the_user_has_set_is_used(project, tmp_path):
    chosen = tmp_path / "chosen"
    chosen.mkdir()
    (chosen / "of-another-program-cache").touch()
    run_python(project, COMPUTE, DVC_ROOT=str(tmp_path), JAX_COMPILATION_CACHE_DIR=str(chosen))
    assert len(list(chosen.glob("*-cache"))) > 1
    assert (chosen / "of-another-program-cache").exists()
    assert not (tmp_path / ".scratch").exists()


def test_second_process_loads_the_compiled_code(first_process, computed, monkeypatch):
    # The first one was started by DVC, the second one by hand in the folder of the project.
    monkeypatch.delenv("DVC_ROOT", raising=False)
    _, first = first_process
    second = run_python(computed, COMPUTE, JAX_LOG_COMPILES="1")
    assert first.stdout == second.stdout == "7\n"
    assert "Persistent compilation cache hit" not in first.stderr
    assert "Persistent compilation cache hit for 'jit__lambda'" in second.stderr


def truncate(entry: Path) -> None:
    entry.write_bytes(entry.read_bytes()[:50])


def flip_a_bit(entry: Path) -> None:
    damaged = bytearray(entry.read_bytes())
    damaged[len(damaged) // 2] ^= 4
    entry.write_bytes(damaged)


@pytest.mark.parametrize("damage", [truncate, flip_a_bit])
def test_damaged_cache_entry_is_compiled_again(project, computed, damage):
    for entry in cache_entries(computed):
        damage(entry)
    run = run_python(project, COMPUTE, DVC_ROOT=str(computed))
    assert run.stdout == "7\n"
    assert "Error reading persistent compilation cache" in run.stderr


def test_incomplete_cache_entry_of_a_killed_process_is_removed_without_a_warning(project, computed):
    for entry in cache_entries(computed):
        truncate(entry)
        entry.with_name(entry.name.removesuffix("cache") + "atime").unlink()
    run = run_python(project, COMPUTE, DVC_ROOT=str(computed))
    assert (run.stdout, run.stderr) == ("7\n", "")
    assert len(list((computed / ".scratch/compiled").glob("*-atime"))) > 0


def test_least_recently_used_entries_are_removed_since_each_one_slows_down_jax(project, computed):
    used = {entry.name for entry in cache_entries(computed)}
    for number in range(MAX_KERNELS + 30):
        file = computed / ".scratch/compiled" / f"{number:04}.kernel"
        file.write_bytes(b"")
        os.utime(file, (number, number))
    for number in range(MAX_CACHE_ENTRIES + 30):
        for kind in ("cache", "atime"):
            file = computed / ".scratch/compiled" / f"{number:04}-{kind}"
            file.write_bytes(b"12345678")
            os.utime(file, (number, number))
    run = run_python(project, COMPUTE, DVC_ROOT=str(computed), JAX_LOG_COMPILES="1")
    assert "Persistent compilation cache hit for 'jit__lambda'" in run.stderr
    left = {entry.name for entry in cache_entries(computed)}
    assert len(left) == MAX_CACHE_ENTRIES
    latest = range(30 + len(used), MAX_CACHE_ENTRIES + 30)
    assert left == used | {f"{number:04}-cache" for number in latest}
    assert len(list((computed / ".scratch/compiled").glob("*-atime"))) == MAX_CACHE_ENTRIES
    kernels = {path.stem for path in (computed / ".scratch/compiled").glob("*.kernel")}
    assert kernels == {f"{number:04}" for number in range(30, MAX_KERNELS + 30)}


def test_entry_that_another_process_is_writing_is_not_removed(tmp_path):
    entry = tmp_path / "abc-cache"  # its access time is written last
    entry.write_bytes(b"code")
    with FileLock(tmp_path / ".lockfile"):
        _remove_useless_entries(tmp_path)
        assert entry.exists()
    _remove_useless_entries(tmp_path)
    assert not entry.exists()


@pytest.mark.parametrize("chosen", [False, True], ids=["own", "of the user"])
def test_cache_that_cannot_be_written_is_one_warning(project, tmp_path, chosen):
    (tmp_path / ".scratch").write_text("a file where the folder should be")
    folder = tmp_path / ".scratch" / "compiled"
    environment = {"JAX_COMPILATION_CACHE_DIR": str(folder)} if chosen else {}
    run = run_python(project, COMPUTE, DVC_ROOT=str(tmp_path), **environment)
    assert run.stdout == "7\n"
    assert run.stderr == f"warning: compiled code is not kept in {folder}: Not a directory\n"


def test_disk_that_fills_up_is_no_warning_of_the_cache(project, tmp_path):
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (99, 99)); "
    ignore = "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
    run = run_python(project, limit + ignore + COMPUTE, DVC_ROOT=str(tmp_path))
    assert (run.stdout, run.stderr) == ("7\n", "")
