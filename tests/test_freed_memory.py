import subprocess
import sys

import pytest

NEEDS_MUCH = """
import resource, sys
import jax, jax.numpy as jnp
from vit_hk.freed_memory import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()

@jax.jit
def add_up(x):  # takes 160 MB, which it frees
    return jax.lax.scan(lambda c, i: (c + i, c * i), x, jnp.arange(20_000_000.0))[1].sum()

def pages_cleared():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

for call in range(3):
    before = pages_cleared()
    add_up(jnp.float32(call + 1)).block_until_ready()
print(pages_cleared() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="does nothing elsewhere")
@pytest.mark.parametrize(("memory", "few"), [("keep", True), ("give back", False)])
def test_a_call_finds_the_memory_of_the_last_one(memory, few):
    process = subprocess.run(
        [sys.executable, "-c", NEEDS_MUCH, memory], capture_output=True, text=True, check=True
    )
    assert (int(process.stdout) < 2_000) is few  # of 4 KiB: 160 MB are 39,063
