import subprocess
import sys

import pytest

MEASURE_PAGE_FAULTS = """
import resource, statistics, sys
import jax, jax.numpy as jnp
from vit_hk.runtime.devices import configure_cpu
if sys.argv[1] == "configured":
    configure_cpu()

@jax.jit
def cumulative_sum(x):  # allocates 160 MB, and frees them
    return jax.lax.scan(lambda c, i: (c + i, c * i), x, jnp.arange(20_000_000.0))[1].sum()

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


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc is not there")
@pytest.mark.parametrize(("process", "keeps_memory"), [("configured", True), ("default", False)])
def test_compiled_function_reuses_the_memory_of_its_last_call(project, process, keeps_memory):
    run = subprocess.run(
        [sys.executable, "-c", MEASURE_PAGE_FAULTS, process], cwd=project,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    # A page is 4 KiB, so 160 MB are 39,063 pages.
    assert (int(run.stdout) < 2_000) is keeps_memory
