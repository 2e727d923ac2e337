"""What a launcher says of the processes that it has started, in environment variables."""

import contextlib
from collections.abc import Mapping
from typing import Any

from jax._src.clusters import ClusterEnv  # it has no public name

from vit_hk.errors import UserError

ADDRESS, COUNT, INDEX = VARIABLES = (
    "JAX_COORDINATOR_ADDRESS",
    "JAX_NUM_PROCESSES",
    "JAX_PROCESS_ID",
)
OPEN_MPI_COUNT, OPEN_MPI_INDEX = "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"
ARGUMENTS = ("coordinator_address", "num_processes", "process_id", "local_device_ids")
JOIN_SECONDS = 120  # for the last process to start


def describe_processes(environment: Mapping[str, str]) -> dict[str, Any] | None:
    """Return the arguments of jax.distributed.initialize, or None for a single process.

    Raises:
      UserError: the variables are incomplete, or no numbers.
    """
    variables = {name: environment[name] for name in VARIABLES if environment.get(name)}
    # Those of a step, since a script of sbatch is one process, whatever the job's SLURM_NTASKS.
    if (
        int(environment.get("SLURM_STEP_NUM_TASKS", "1")) > 1
        or "JOB_COMPLETION_INDEX" in environment
    ):
        return _ask_launcher()
    if OPEN_MPI_COUNT in environment and COUNT not in variables:
        if "OMPI_MCA_orte_hnp_uri" in environment:  # Open MPI 4, which JAX asks
            return _ask_launcher() if int(environment[OPEN_MPI_COUNT]) > 1 else None
        variables |= {COUNT: environment[OPEN_MPI_COUNT], INDEX: environment[OPEN_MPI_INDEX]}
    if not variables.keys() & {COUNT, INDEX} or variables.get(COUNT) == "1":
        return None
    if missing := [name for name in VARIABLES if name not in variables]:
        raise UserError(
            f"{missing[0]} is not set, but there are several processes; set {ADDRESS} to "
            f"HOST:PORT, the machine of process 0 and a free port, {COUNT} to the number of "
            f"processes, and {INDEX} to that of each process, from 0"
        )
    return _parse(variables)


def _ask_launcher() -> dict[str, Any]:
    """Return the arguments of jax.distributed.initialize that JAX finds out from the launcher."""
    unknown = dict.fromkeys((*ARGUMENTS, "cluster_detection_method"))
    found = ClusterEnv.auto_detect_unset_distributed_params(
        **unknown, initialization_timeout=JOIN_SECONDS
    )
    return dict(zip(ARGUMENTS, found, strict=True))


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
