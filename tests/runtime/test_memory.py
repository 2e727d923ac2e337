import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vit_hk import process_limits
from vit_hk.errors import UserError
from vit_hk.runtime import memory
from vit_hk.runtime.memory import check_free_memory, free_bytes, report_out_of_memory


class Device:
    """A stand-in for a jax.Device; only a GPU reports statistics of its memory."""

    def __init__(self, statistics: dict[str, int] | None) -> None:
        self.statistics = statistics

    def memory_stats(self) -> dict[str, int] | None:
        return self.statistics


@pytest.fixture
def system_files(tmp_path, monkeypatch):
    """Imitate the files of Linux: 3,000 KiB are available, and the container has no limit."""
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1700\n")
    (tmp_path / "memory.stat").write_text("anon 1000\nactive_file 500\ninactive_file 200\n")
    (tmp_path / "meminfo").write_text("MemTotal: 9000 kB\nMemFree: 1 kB\nMemAvailable: 3000 kB\n")
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    (tmp_path / "own").write_text("0::/\n")
    monkeypatch.setattr(process_limits, "CGROUPS", tmp_path)
    monkeypatch.setattr(process_limits, "OWN_CGROUP", tmp_path / "own")
    return tmp_path


@pytest.mark.usefixtures("system_files")
def test_free_memory_is_what_linux_reports_as_available():
    assert free_bytes(Device(None)) == 3000 * 1024


def test_limit_of_a_container_counts_without_its_page_cache(system_files):
    (system_files / "memory.max").write_text("1200000\n")
    assert free_bytes(Device(None)) == 1_200_000 - 1_700 + 700


def test_limits_of_all_groups_around_the_process_count(system_files):
    (system_files / "own").write_text("9:memory:/old\n0::/user.slice/job\n")
    group = system_files / "user.slice" / "job"
    group.mkdir(parents=True)
    for name in ("memory.current", "memory.stat"):
        (group / name).write_text((system_files / name).read_text())
    (group / "memory.max").write_text("1300000\n")
    assert free_bytes(Device(None)) == 1_300_000 - 1_700 + 700
    (system_files / "memory.max").write_text("1200000\n")
    assert free_bytes(Device(None)) == 1_200_000 - 1_700 + 700


@pytest.mark.usefixtures("system_files")
def test_gpu_reports_its_own_memory():
    assert free_bytes(Device({"bytes_limit": 700, "bytes_in_use": 200})) == 500


def test_free_memory_is_unknown_where_no_file_reports_it(system_files):
    for path in system_files.iterdir():
        path.unlink()
    assert free_bytes(Device(None)) is None


@pytest.mark.usefixtures("system_files")
def test_more_than_the_free_memory_is_refused():
    check_free_memory(3000 * 1024)
    with pytest.raises(MemoryError, match=r"at least 0\.0 GiB are needed, 0\.0 GiB are free"):
        check_free_memory(3000 * 1024 + 1)


def test_nothing_is_refused_where_free_memory_is_unknown(monkeypatch):
    monkeypatch.setattr(memory, "free_bytes", lambda _: None)
    check_free_memory(10**30)


def allocate_with_jax() -> None:
    jnp.zeros(2**44, jnp.uint8).block_until_ready()


def allocate_with_numpy() -> None:
    np.ones(2**50, np.uint8)


def raise_without_a_message() -> None:
    raise MemoryError


@pytest.mark.parametrize(
    ("allocate", "problem"),
    [
        (allocate_with_jax, "Out of memory allocating 17592186044416 bytes"),
        (allocate_with_numpy, "Unable to allocate 1.00 PiB"),
        (raise_without_a_message, "allocation failed"),
    ],
)
def test_lack_of_memory_ends_in_one_line_that_names_the_settings_to_lower(
    allocate, problem, one_line
):
    with pytest.raises(UserError) as caught, report_out_of_memory("train.batch_size"):
        allocate()
    message = one_line(caught.value)
    assert message.startswith("not enough memory (")
    assert problem in message
    assert "lower in params.yaml: train.batch_size, model.num_heads, model.hidden_size, " in message


def test_other_errors_are_raised_unchanged():
    with pytest.raises(ZeroDivisionError), report_out_of_memory("train.batch_size"):
        raise ZeroDivisionError
    with pytest.raises(jax.errors.JaxRuntimeError), report_out_of_memory("train.batch_size"):
        raise jax.errors.JaxRuntimeError("INTERNAL: another error")
