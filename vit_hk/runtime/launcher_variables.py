"""What a launcher says of the processes that it has started, in environment variables."""

import contextlib
from collections.abc import Mapping
from typing import Any

from jax._src.clusters import ClusterEnv  # it has no public name

from vit_hk.errors import UserError, shorten

ADDRESS, COUNT, INDEX = VARIABLES = (
    "JAX_COORDINATOR_ADDRESS",
    "JAX_NUM_PROCESSES",
    "JAX_PROCESS_ID",
)
OPEN_MPI_COUNT, OPEN_MPI_INDEX = "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"
OPEN_MPI_4 = "OMPI_MCA_orte_hnp_uri"  # an address, which version 5 does not state
OPEN_MPI_LOCAL = "OMPI_COMM_WORLD_LOCAL_RANK"  # the number of a process on its machine
SLURM_COUNT = "SLURM_STEP_NUM_TASKS"
GPUS = "JAX_LOCAL_DEVICE_IDS"  # those of a process, as numbers on its machine; JAX reads it
ARGUMENTS = ("coordinator_address", "num_processes", "process_id", "local_device_ids")
JOIN_SECONDS = 120  # for the last process to start


def describe_processes(environment: Mapping[str, str]) -> dict[str, Any] | None:
    """Return the arguments of jax.distributed.initialize, or None for a single process.

    Raises:
      UserError: the variables are incomplete or no numbers, or the address has no port.
    """
    variables = {name: environment[name] for name in VARIABLES if environment.get(name)}
    if ADDRESS in variables:
        _check_address(variables[ADDRESS])
    if not variables.keys() & {COUNT, INDEX}:  # these count more than what a launcher says
        # Open MPI first, since its mpirun starts processes on other machines with Slurm's srun.
        if OPEN_MPI_COUNT in environment:
            if OPEN_MPI_4 in environment and environment[OPEN_MPI_COUNT] != "1":
                return _ask_launcher(variables, has_gpus=GPUS in environment)
            variables |= {COUNT: environment[OPEN_MPI_COUNT], INDEX: environment[OPEN_MPI_INDEX]}
        # That of a step, since a script of sbatch is one process, whatever the job's SLURM_NTASKS.
        elif environment.get(SLURM_COUNT, "1") != "1":
            return _ask_launcher(variables, has_gpus=GPUS in environment)
    if not variables.keys() & {COUNT, INDEX} or variables.get(COUNT) == "1":
        return None
    if missing := [name for name in VARIABLES if name not in variables]:
        raise UserError(
            f"{missing[0]} is not set, but there are several processes; set {ADDRESS} to "
            f"HOST:PORT, the machine of process 0 and a free port, {COUNT} to the number of "
            f"processes, and {INDEX} to that of each process, from 0"
        )
    found = _parse(variables)
    if {COUNT, INDEX}.isdisjoint(environment) and GPUS not in environment:
        local = environment.get(OPEN_MPI_LOCAL, "")
        found |= {"local_device_ids": [int(local)]} if local.isdecimal() else {}
    return found


def _check_address(address: str) -> None:
    host, _, port = address.rpartition(":")
    if not (host and port.isascii() and port.isdecimal() and 0 < int(port) < 2**16):
        raise UserError(
            f"{ADDRESS} is {shorten(address)}; allowed: the host of process 0 and a port from 1 to "
            "65535, for example node1:12345"
        )


def _ask_launcher(variables: Mapping[str, str], has_gpus: bool) -> dict[str, Any]:
    """Return the arguments of jax.distributed.initialize, which JAX finds out from the launcher.

    Args:
      variables: may hold an address, which then counts instead of the one that JAX derives.
      has_gpus: whether the GPUs of the process are named, and not to be found out.
    """
    unknown = dict.fromkeys((*ARGUMENTS, "cluster_detection_method"))
    found = ClusterEnv.auto_detect_unset_distributed_params(
        **unknown | {"coordinator_address": variables.get(ADDRESS)},
        initialization_timeout=JOIN_SECONDS,
    )
    described = dict(zip(ARGUMENTS, found, strict=True))
    return described | {"local_device_ids": None} if has_gpus else described


def _parse(variables: Mapping[str, str]) -> dict[str, Any]:
    """Return the arguments of jax.distributed.initialize that three variables state.

    Raises:
      UserError: they are no numbers, or too large.
    """
    with contextlib.suppress(ValueError):
        count, index = int(variables[COUNT]), int(variables[INDEX])
        if 0 <= index < count:
            return {
                "coordinator_address": variables[ADDRESS],
                "num_processes": count,
                "process_id": index,
            }
    raise UserError(
        f"{COUNT} is {variables[COUNT]!r} and {INDEX} is {variables[INDEX]!r}; allowed: the number "
        "of processes, and that of this process, from 0"
    )
