"""A contender in a separate process, which is started again after an error."""

import contextlib
import dataclasses
import json
import os
import selectors
import subprocess
import sys
import time
from typing import Any

from benchmarks.process import WITHOUT_CACHES
from benchmarks.workload import Workload

PLATFORMS = {"gpu": "cuda,cpu", "cpu": "cpu"}  # to JAX's names; the first is the default
TOO_SLOW = "given up: it was not ready in time"


def environment(platform: str) -> dict[str, str]:
    """Return the environment of all processes that compute.

    Args:
      platform: "gpu" or "cpu".
    """
    gpus = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")
    return os.environ | WITHOUT_CACHES | {
        "CUDA_VISIBLE_DEVICES": gpus[0] if platform == "gpu" else "",  # one for all contenders
        "JAX_PLATFORMS": PLATFORMS[platform],
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # the processes share the memory
    }  # fmt: skip


class ContenderError(Exception):
    """A contender that failed; the message is what its process said."""


class Contender:
    """A contender and its process, which holds at most one prepared workload."""

    def __init__(self, name: str, platform: str) -> None:
        """Store the name, a key of CONTENDERS in `worker.py`; the first request starts it."""
        self.name = name
        self._environment = environment(platform)
        self._process: subprocess.Popen[bytes] | None = None

    def start_preparing(self, work: Workload, round_seconds: float) -> None:
        """Request a workload without waiting for it, so that all contenders compile at once."""
        self._send([dataclasses.asdict(work), round_seconds])

    def warm_up(self, deadline: float) -> None:
        """Warm the prepared workload up, while no other contender uses the GPU."""
        self._send("warm_up")
        self.receive(deadline)

    def measure(self, deadline: float) -> float:
        """Measure a round of the prepared workload, and return the seconds per batch."""
        self._send("measure")
        return self.receive(deadline)["seconds"]

    def receive(self, deadline: float) -> dict[str, Any]:
        """Return the answer to the last request.

        Args:
          deadline: time.monotonic() until which to wait.

        Raises:
          ContenderError: it failed or was too slow. Its process is stopped then: after an error of
            CUDA it could compute nothing else.
        """
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            is_ready = selector.select(max(0.0, deadline - time.monotonic()))
        line = self._process.stdout.readline() if is_ready else b""
        try:
            answer = json.loads(line) if line else {"error": _describe(bool(is_ready))}
        except ValueError:
            answer = {"error": f"the process answered {line[:200]!r}"}
        if "error" in answer:
            self.stop()
            raise ContenderError(answer["error"])
        return answer

    def stop(self) -> None:
        """End the process, if there is one."""
        if self._process:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
            self._process.kill()
            self._process.wait()
            self._process.stdout.close()
            self._process = None

    def _send(self, request: Any) -> None:
        if not self._process:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.gpu.worker", self.name],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=self._environment,
            )  # fmt: skip
        # A process that has died is reported where its answer is read.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(f"{json.dumps(request)}\n".encode())
            self._process.stdin.flush()


def _describe(has_ended: bool) -> str:
    if has_ended:
        return "the process ended without an answer; its error is printed above"
    return TOO_SLOW
