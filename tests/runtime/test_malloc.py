import ctypes
import resource
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from vit_hk.runtime.malloc import MMAP_THRESHOLD, TRIM_THRESHOLD, keep_freed_memory

MEASURE_PAGE_FAULTS = """
import resource, statistics, sys
import jax, jax.numpy as jnp
from vit_hk.runtime.devices import configure_cpu
if sys.argv[1] == "configured":
    configure_cpu()

@jax.jit
def cumulative_sum(x):  # allocates 80 MB, and frees them
    return jax.lax.scan(lambda c, i: (c + i, c * i), x, jnp.arange(10_000_000.0))[1].sum()

def page_faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

counts = []
for call in range(6):
    before = page_faults()
    cumulative_sum(jnp.float32(call + 1)).block_until_ready()
    counts.append(page_faults() - before)
# The first call grows the heap. One later call may grow it once more, where small blocks lie in
# the way of large ones.
print(statistics.median(counts[1:]))
"""


@pytest.mark.parametrize("limit", [2**30, 2**25, 0], ids=["new", "before 2.35", "none"])
def test_trimming_is_set_only_where_glibc_keeps_large_blocks(monkeypatch, limit):
    kept = {}

    def mallopt(parameter, value):
        if parameter == MMAP_THRESHOLD and value > limit:
            return 0
        kept[parameter] = value
        return 1

    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace(mallopt=mallopt))
    keep_freed_memory()
    assert kept == ({MMAP_THRESHOLD: limit, TRIM_THRESHOLD: 2**30} if limit else {})


def has_small_pages() -> bool:
    """Return whether memory comes in pages of 4 KiB, so that 80 MB are many page faults."""
    setting = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    is_huge = setting.is_file() and "[always]" in setting.read_text()
    return resource.getpagesize() == 4096 and not is_huge


needs_small_pages = pytest.mark.skipif(not has_small_pages(), reason="pages are larger")


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc is not there")
@pytest.mark.parametrize(
    ("process", "keeps_memory"),
    [("configured", True), pytest.param("default", False, marks=needs_small_pages)],
)
def test_compiled_function_reuses_the_memory_of_its_last_call(project, process, keeps_memory):
    run = subprocess.run(
        [sys.executable, "-c", MEASURE_PAGE_FAULTS, process], cwd=project,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    # A page is 4 KiB, so 80 MB are 19,532 pages.
    assert (int(run.stdout) < 2_000) is keeps_memory
