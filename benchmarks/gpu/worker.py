"""The process of one contender on a GPU: it prepares and measures the workloads that it is sent.

`contender.py` starts it. Each line of standard input is a request in JSON: [work, round_seconds],
"warm_up" or "measure". The answer to each is a line of standard output.
"""

import importlib
import json
import os
import sys
import time
from typing import Any

from benchmarks.contenders import Job
from benchmarks.worker import batches_per_round, time_batches
from benchmarks.workload import Workload

# Name -> (module of this package, function).
CONTENDERS = {
    "ours": ("ours", "make"),
    "timm": ("timm", "make"),
    "timm, torch.compile": ("timm", "make_compiled"),
    "timm, torch.compile, CUDA graphs": ("timm", "make_cuda_graphs"),
}


class Worker:
    """One contender, and the job that it has prepared."""

    def __init__(self, name: str) -> None:
        """Store the name, a key of CONTENDERS; its libraries are imported with the first job."""
        self._name = name
        self._job: Job | None = None
        self._round_seconds = 0.0
        self._batches = 0  # of a round

    def answer(self, request: Any) -> dict[str, Any]:
        """Return what was measured, or the error of a workload that failed."""
        requests = {"warm_up": self._warm_up, "measure": self._measure}
        try:
            return requests[request]() if isinstance(request, str) else self._prepare(*request)
        except Exception as error:  # whatever it is, the other workloads go on
            return {"error": f"{type(error).__name__}: {error}"}

    def _prepare(self, work: dict[str, Any], round_seconds: float) -> dict[str, Any]:
        """Compile, and run the first batch."""
        self._job = None  # frees its memory
        module, function = CONTENDERS[self._name]
        make = getattr(importlib.import_module(f"benchmarks.gpu.{module}"), function)
        started = time.perf_counter()
        self._job = make(Workload(**work))
        self._job.run(1)
        compile_seconds = time.perf_counter() - started
        self._round_seconds = round_seconds
        return {"compile_seconds": compile_seconds, "parameters": self._job.num_parameters}

    def _warm_up(self) -> dict[str, Any]:
        """Run the prepared job until its speed is steady."""
        self._batches = batches_per_round(self._job, self._round_seconds)
        return {}

    def _measure(self) -> dict[str, Any]:
        """Run one round of the prepared job, and return the seconds per batch."""
        return {"seconds": time_batches(self._job, self._batches) / self._batches}


def main() -> None:
    """Answer the requests of standard input until it is closed."""
    # Standard output is reserved for answers; what libraries print goes to standard error, also
    # what those in C write to the file descriptor.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    worker = Worker(sys.argv[1])
    for line in sys.stdin:
        print(json.dumps(worker.answer(json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
