"""The process of one contender: does a piece of work whenever a line comes in.

Started by benchmarks/process.py. Each contender has a process of its own, so that its memory
can be told from the others' and their threads do not mix.
"""

import importlib
import json
import sys
import time
from pathlib import Path

from benchmarks.contenders import CONTENDERS, MATRIX_PRODUCTS, Job
from benchmarks.contenders.images import num_images
from benchmarks.workload import Workload

PEAK_RESET = Path("/proc/self/clear_refs")  # takes "5", see proc(5)
WARM_UP = 2  # runs whose time is not kept, beside the first, which compiles


def main() -> None:
    """Prepare, tell how long that took, then time a run for each line of standard input."""
    name, settings, chunk = json.loads(sys.argv[1])
    work = Workload(**settings)
    # Standard output is for answers; what libraries print there goes to standard error.
    answers, sys.stdout = sys.stdout, sys.stderr
    module, function = (CONTENDERS | MATRIX_PRODUCTS)[name]
    make = getattr(importlib.import_module(f"benchmarks.contenders.{module}"), function)

    started = time.perf_counter()
    job = make(work)
    job.run(1)
    ready = time.perf_counter() - started
    # A prediction takes each image once; training begins anew.
    most = num_images(work) // work.batch_size if work.task == "infer" else sys.maxsize
    batches = _batches_of(chunk, job, most)
    facts = {
        "compile_seconds": ready,
        "compile_peak_bytes": _peak_bytes(),
        "batches": batches,
        "parameters": job.num_parameters,
        "difference": job.difference,
    }
    print(json.dumps(facts), file=answers, flush=True)
    PEAK_RESET.write_text("5", "ascii")
    for _ in sys.stdin:
        used = time.process_time()  # by all threads
        seconds = _timed(job, batches)
        answer = {
            "seconds": seconds / batches,
            "core_seconds": time.process_time() - used,
            "peak_bytes": _peak_bytes(),
        }
        print(json.dumps(answer), file=answers, flush=True)


def _timed(job: Job, batches: int) -> float:
    started = time.perf_counter()
    job.run(batches)
    return time.perf_counter() - started


def _batches_of(chunk: float, job: Job, most: int) -> int:
    """How many batches take about `chunk` seconds, if there are so many; warms up on the way."""
    batches = 1
    for _ in range(WARM_UP):
        seconds = _timed(job, batches) / batches
        batches = min(max(1, round(chunk / seconds)), most)
    return batches


def _peak_bytes() -> int:
    """The most memory that this process has held at a time, since the last reset.

    Not from getrusage, whose ru_maxrss starts at that of the parent and is never reset.
    """
    status = Path("/proc/self/status").read_text("ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return 1024 * int(line.split()[1])


if __name__ == "__main__":
    main()
