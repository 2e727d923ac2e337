"""Contenders in processes of their own, of which one works while the others wait."""

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

# Else a second run would find the work of torch.compile done, and tell another compile time.
ENVIRONMENT = os.environ | {"TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1"}
DISTURBED = 0.08  # share of all cores; the kernel counts in hundredths of a second
ATTEMPTS = 6
PAUSE = 0.02  # seconds; threads of OpenMP spin for a while when their work is done


class Process:
    """One contender.

    Attributes:
      facts: compile_seconds, compile_peak_bytes, batches (of a round), parameters, difference.
      seconds: of a batch, a number a round.
      disturbances: share of all cores that other programs took, a number a round.
      working_bytes: the most memory that it has held in a round, its libraries included.
    """

    def __init__(self, name: str, work: Workload, chunk: float) -> None:
        """Start it, and wait until it has compiled and warmed up.

        Args:
          name: of CONTENDERS or MATRIX_PRODUCTS.
          work: what to do.
          chunk: about how many seconds a round is to take.
        """
        self.name = name
        argument = json.dumps([name, dataclasses.asdict(work), chunk])
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", argument],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT,
        )  # fmt: skip
        self.seconds: list[float] = []
        self.disturbances: list[float] = []
        self.working_bytes = 0
        self.facts = self._answer()

    def work(self) -> None:
        """Do one round, and again where other programs disturbed it."""
        for _ in range(ATTEMPTS):
            answer, disturbance = self._round()
            if disturbance < DISTURBED:
                break
        self.seconds.append(answer["seconds"])
        self.disturbances.append(disturbance)
        self.working_bytes = answer["peak_bytes"]

    def _round(self) -> tuple[dict[str, float], float]:
        """The answer to one round, and the share of all cores that others had meanwhile."""
        time.sleep(PAUSE)
        started, busy = time.perf_counter(), busy_core_seconds()
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        answer = self._answer()
        others = busy_core_seconds() - busy - answer["core_seconds"]
        return answer, others / (os.cpu_count() * (time.perf_counter() - started))

    def stop(self) -> None:
        """Let it end."""
        self._process.stdin.close()
        self._process.wait()

    def _answer(self) -> dict[str, Any]:
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} has failed; the reason stands above")
        return json.loads(line)


@contextlib.contextmanager
def started(names: list[str], work: Workload, chunk: float) -> Iterator[list[Process]]:
    """Processes for all names, started one after the other; they end with the block."""
    with contextlib.ExitStack() as stack:
        processes = []
        for name in names:
            process = Process(name, work, chunk)
            stack.callback(process.stop)
            processes.append(process)
        yield processes
