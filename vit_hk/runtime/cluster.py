"""Several processes that train one model, on one machine or many: JAX's multi-controller runtime.

Each process runs the same program and computes on its own devices. Slurm's srun and
Open MPI's mpirun say how many there are; elsewhere three variables of the environment do
(`launcher_variables.py`).
"""

import contextlib
import itertools
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax._src.distributed import global_state
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding

from vit_hk.errors import UserError, in_one_line
from vit_hk.runtime.launcher_variables import ADDRESS, JOIN_SECONDS, describe_processes
from vit_hk.runtime.watch import Watch

SERVICE = Path(__file__).with_name("coordinator.py")
MAX_WAIT_MILLISECONDS = 2**31 - 1  # `Watch` ends a process that waits for one that is gone

_barriers = itertools.count()  # numbers of the barriers; all processes come to them in one order


@contextlib.contextmanager
def joined_processes() -> Iterator[None]:
    """Join the other processes of this run inside the block; where there are none, do nothing.

    It must be entered before JAX starts. When a process dies, stops or fails, all others end within
    half a minute, with one line that names it.

    Raises:
      UserError: the environment describes the processes incompletely, or they do not join.
    """
    described = describe_processes(os.environ)
    if not described:
        yield
        return
    service = _initialize(described)
    watch = Watch(_client(), described["process_id"], described["num_processes"])
    if described["process_id"]:
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115, process 0 prints
    try:
        yield
    except BaseException as error:
        if _is_agreed_stop(error):
            _leave(watch, service)
        else:
            watch.report_failure(error)
        raise
    _leave(watch, service)


def _is_agreed_stop(error: BaseException) -> bool:
    """Return whether all processes have agreed on this exit, after a signal to one of them."""
    return isinstance(error, SystemExit) and isinstance(error.code, int) and error.code > 128


def _leave(watch: Watch, service: subprocess.Popen[str] | None) -> None:
    """Leave the run when all processes have come here."""
    wait_for_all()
    watch.is_over.set()
    jax.distributed.shutdown()
    if service and service.stdin:
        service.stdin.write("all have left")
        service.stdin.close()


def is_main_process() -> bool:
    """Return whether this process writes the results: the only one, or the first of several."""
    return jax.process_index() == 0


def max_over_processes(value: int) -> int:
    """Return the largest of the values of all processes, which must all call this function."""
    if jax.process_count() == 1:
        return value
    wait_for_all()
    return int(multihost_utils.process_allgather(np.int32(value)).max())


def wait_for_all() -> None:
    """Wait until all processes have called this function, however long that takes.

    It belongs before a collective operation that some processes may reach late: on CPUs these
    operations wait for half a minute only, and on GPUs they compute meanwhile.
    """
    if jax.process_count() > 1:
        _wait_at_barrier()


def check_same(value: str, remedy: str) -> None:
    """Check that a text of at most 64 ASCII characters is the same in all processes.

    Raises:
      UserError: it is not; the message ends with the remedy.
    """
    if jax.process_count() == 1:
        return
    wait_for_all()  # a process may have read a large data set more slowly
    padded = np.frombuffer(value.encode("ascii").ljust(64), np.uint8)
    values = multihost_utils.process_allgather(padded)
    differ = np.flatnonzero((values != values[0]).any(axis=1))
    if differ.size:
        raise UserError(f"process {differ[0]} differs from process 0: {remedy}")


def replicate(tree: Any, sharding: NamedSharding) -> Any:
    """Copy arrays, which are the same in all processes, to each device of a replicated sharding.

    `jax.device_put` would compare them first, with a collective operation for each array.
    """

    def copy(array: Any) -> jax.Array:
        host = np.asarray(array)
        return jax.make_array_from_callback(host.shape, sharding, host.__getitem__)

    return jax.tree.map(copy, tree)


def gather(tree: Any) -> Any:
    """Return arrays that are sharded over the devices of several processes as NumPy arrays."""
    wait_for_all()
    return jax.tree.map(np.asarray, multihost_utils.process_allgather(tree, tiled=True))


def _initialize(described: dict[str, Any]) -> subprocess.Popen[str] | None:
    """Start JAX's distributed runtime, and in process 0 the coordination service.

    Returns:
      The service, in process 0.

    Raises:
      UserError: the service cannot start, or the processes do not join.
    """
    jax.config.update("jax_enable_preemption_service", False)  # it would take SIGTERM for itself
    address = described["coordinator_address"]
    service = None
    if described["process_id"] == 0:
        service = _start_service(address, described["num_processes"])
    try:
        jax.distributed.initialize(
            **described,
            cluster_detection_method="deactivate",
            # JAX starts a service in process 0 too, which nobody is told of.
            coordinator_bind_address="localhost:0",
            initialization_timeout=JOIN_SECONDS,
            heartbeat_timeout_seconds=10**6,  # `Watch` finds out sooner
        )
        _wait_at_barrier()
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"the {described['num_processes']} processes of this run did not join at {address} "
            f"within {JOIN_SECONDS} seconds: {in_one_line(error)}; start all of them within that "
            "time, with one address that all of them reach"
        ) from None
    return service


def _wait_at_barrier() -> None:
    _client().wait_at_barrier(f"vit_hk/{next(_barriers)}", MAX_WAIT_MILLISECONDS)


def _client() -> Any:
    """Return the client of JAX's key-value store, which has no public name."""
    return global_state.client


def _start_service(address: str, count: int) -> subprocess.Popen[str]:
    """Start the coordination service on this machine.

    Raises:
      UserError: its port is in use.
    """
    port = address.rpartition(":")[2]
    if not _becomes_free(port):
        raise UserError(
            f"{ADDRESS}: port {port} is in use on the machine of process 0; name another one"
        )
    command = [sys.executable, str(SERVICE), f"[::]:{port}", str(count)]
    return subprocess.Popen(  # noqa: S603, a script of this package
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        text=True, start_new_session=True,
    )  # fmt: skip


def _becomes_free(port: str) -> bool:
    """Wait for a port, which the service of a run before may hold a while after its end."""
    dual = socket.has_dualstack_ipv6()  # not in each container
    family = socket.AF_INET6 if dual else socket.AF_INET
    for _ in range(JOIN_SECONDS // 2):
        with contextlib.suppress(OSError, OverflowError, ValueError):
            socket.create_server(("", int(port)), family=family, dualstack_ipv6=dual).close()
            return True
        time.sleep(1)
    return False
