"""Contenders in separate processes, of which one runs while the others wait."""

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

from benchmarks.machine import busy_core_seconds
from benchmarks.workload import Workload
from vit_hk.process_limits import usable_cores

# With their caches, a second run would report compile times that are too short.
WITHOUT_CACHES = {
    "JAX_ENABLE_COMPILATION_CACHE": "false",
    "TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1",
}
# All contenders compute on the same cores, also where there is a GPU, or fewer cores may be used.
ENVIRONMENT = os.environ | WITHOUT_CACHES | {
    "JAX_PLATFORMS": "cpu",
    "OMP_NUM_THREADS": str(usable_cores()),  # read by torch
}  # fmt: skip
DISTURBANCE_THRESHOLD = 0.08  # share of all cores; the kernel counts in hundredths of a second
MAX_ATTEMPTS = 6  # at a round that other programs disturb
PAUSE_SECONDS = 0.02  # OpenMP threads spin for a while after their work


class Process:
    """A contender in a separate process, with the measurements of its rounds.

    Attributes:
      facts: compile_seconds, compile_peak_bytes, batches (per round), parameters, difference.
      seconds: seconds per batch, a number per round.
      disturbances: share of all cores that other programs used, a number per round.
      working_bytes: peak memory of the process during the rounds, its libraries included.
    """

    def __init__(self, name: str, work: Workload, round_seconds: float) -> None:
        """Start the process, and wait until it has compiled and warmed up.

        Args:
          name: a key of CONTENDERS or GEMMS.
          work: the workload.
          round_seconds: approximate duration of a round.
        """
        self.name = name
        argument = json.dumps([name, dataclasses.asdict(work), round_seconds])
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", argument],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT,
        )  # fmt: skip
        self.seconds: list[float] = []
        self.disturbances: list[float] = []
        self.working_bytes = 0
        self.facts = self._read_answer()

    def run_round(self) -> None:
        """Measure one round, and repeat it if other programs disturb it."""
        for _ in range(MAX_ATTEMPTS):
            answer, disturbance = self._attempt()
            if disturbance < DISTURBANCE_THRESHOLD:
                break
        self.seconds.append(answer["seconds"])
        self.disturbances.append(disturbance)
        self.working_bytes = answer["peak_bytes"]

    def _attempt(self) -> tuple[dict[str, float], float]:
        """Return the measurements of a round, and the share of all cores that others used."""
        time.sleep(PAUSE_SECONDS)
        started, busy = time.perf_counter(), busy_core_seconds()
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        answer = self._read_answer()
        others = busy_core_seconds() - busy - answer["core_seconds"]
        return answer, others / (os.cpu_count() * (time.perf_counter() - started))

    def stop(self) -> None:
        """Close the input of the process, which ends it, and wait."""
        self._process.stdin.close()
        self._process.wait()

    def _read_answer(self) -> dict[str, Any]:
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"the process of {self.name} failed; its error is printed above")
        return json.loads(line)


@contextlib.contextmanager
def running_processes(
    names: list[str], work: Workload, round_seconds: float
) -> Iterator[list[Process]]:
    """Start a process for each contender, one after the other, and stop them after the block."""
    with contextlib.ExitStack() as stack:
        processes = []
        for name in names:
            process = Process(name, work, round_seconds)
            stack.callback(process.stop)
            processes.append(process)
        yield processes
