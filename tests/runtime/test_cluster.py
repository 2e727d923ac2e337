import socket

import jax
import numpy as np
import pytest
from jax.experimental import multihost_utils

from vit_hk.errors import UserError
from vit_hk.runtime import cluster
from vit_hk.runtime.launcher_variables import ADDRESS


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


def test_processes_wait_for_each_other_before_they_agree(monkeypatch):
    calls = []

    def allgather(value):
        calls.append("allgather")
        return np.array([value, 5])

    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(cluster, "_wait_at_barrier", lambda: calls.append("barrier"))
    monkeypatch.setattr(multihost_utils, "process_allgather", allgather)
    assert cluster.max_over_processes(3) == 5
    assert calls == ["barrier", "allgather"]


def test_a_port_that_is_in_use_is_named(monkeypatch, one_line):
    monkeypatch.setattr(cluster, "JOIN_SECONDS", 2)
    dual = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if dual else socket.AF_INET
    with socket.create_server(("", 0), family=family, dualstack_ipv6=dual) as server:
        port = server.getsockname()[1]
        with pytest.raises(UserError) as caught:
            cluster._start_service(f"127.0.0.1:{port}", 2)
    text = one_line(caught.value)
    assert f"{ADDRESS}: port {port} is in use on the machine of process 0" in text
