"""The process of one contender, which measures a round for each line of standard input.

benchmarks/process.py starts it. Each contender has a separate process, so that its memory is
measured alone and the threads of different libraries do not compete.
"""

import importlib
import json
import sys
import time
from pathlib import Path

from benchmarks.contenders import CONTENDERS, GEMMS, Job
from benchmarks.contenders.images import num_images
from benchmarks.workload import Workload

PEAK_RESET = Path("/proc/self/clear_refs")  # writing "5" resets the peak memory, see proc(5)
WARM_UP_RUNS = 2  # not measured, after the first batch, which compiles


def main() -> None:
    """Compile the contender, report how long that took, then measure rounds."""
    name, settings, round_seconds = json.loads(sys.argv[1])
    work = Workload(**settings)
    # Standard output is reserved for answers; what libraries print goes to standard error.
    answers, sys.stdout = sys.stdout, sys.stderr
    module, function = (CONTENDERS | GEMMS)[name]
    make = getattr(importlib.import_module(f"benchmarks.contenders.{module}"), function)

    started = time.perf_counter()
    job = make(work)
    job.run(1)
    compile_seconds = time.perf_counter() - started
    # Inference processes each image once; training continues with another epoch.
    max_batches = num_images(work) // work.batch_size if work.task == "infer" else sys.maxsize
    batches = batches_per_round(job, round_seconds, max_batches)
    facts = {
        "compile_seconds": compile_seconds,
        "compile_peak_bytes": _peak_bytes(),
        "batches": batches,
        "parameters": job.num_parameters,
        "difference": job.difference,
    }
    print(json.dumps(facts), file=answers, flush=True)
    PEAK_RESET.write_text("5", "ascii")
    for _ in sys.stdin:
        core_seconds = time.process_time()  # of all threads
        seconds = time_batches(job, batches)
        answer = {
            "seconds": seconds / batches,
            "core_seconds": time.process_time() - core_seconds,
            "peak_bytes": _peak_bytes(),
        }
        print(json.dumps(answer), file=answers, flush=True)


def time_batches(job: Job, batches: int) -> float:
    """Return the seconds that a number of batches takes."""
    started = time.perf_counter()
    job.run(batches)
    return time.perf_counter() - started


def batches_per_round(job: Job, round_seconds: float, max_batches: int = sys.maxsize) -> int:
    """Warm up, and return the number of batches that takes about `round_seconds`."""
    batches = 1
    for _ in range(WARM_UP_RUNS):
        seconds = time_batches(job, batches) / batches
        batches = min(max(1, round(round_seconds / seconds)), max_batches)
    return batches


def _peak_bytes() -> int:
    """Return the peak memory of this process since the last reset.

    Not getrusage: its ru_maxrss starts at that of the parent process and cannot be reset.
    """
    status = Path("/proc/self/status").read_text("ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return 1024 * int(line.split()[1])


if __name__ == "__main__":
    main()
