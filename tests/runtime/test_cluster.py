import jax
import pytest
from jax.experimental import multihost_utils

from vit_hk.errors import UserError
from vit_hk.runtime import cluster


@pytest.mark.parametrize(("other", "is_same"), [("a", True), ("b", False)])
def test_processes_wait_for_each_other_before_they_compare(monkeypatch, other, is_same):
    # A collective operation on CPUs waits for half a minute only, and a large data set on another
    # machine may take longer to read.
    calls = []

    def allgather(padded):
        calls.append("allgather")
        changed = padded.copy()
        changed[0] = ord(other)
        return jax.numpy.stack([padded, changed])

    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(cluster, "_wait_at_barrier", lambda: calls.append("barrier"))
    monkeypatch.setattr(multihost_utils, "process_allgather", allgather)
    if is_same:
        cluster.check_same("a", "do this")
    else:
        with pytest.raises(UserError, match="process 1 differs from process 0: do this"):
            cluster.check_same("a", "do this")
    assert calls == ["barrier", "allgather"]
