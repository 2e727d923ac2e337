"""Several processes of a training on this machine, as a launcher would start them."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from vit_hk.runtime.launcher_variables import ADDRESS, COUNT, INDEX

TRAIN = [sys.executable, "-m", "stages.train"]


def free_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


def environment(devices: int, **variables: str) -> dict[str, str]:
    """Return the environment of a process with some devices."""
    # Without PYTHONUNBUFFERED, as most users have it, only lines that are flushed appear at once.
    left_out = {"DVC_ROOT", "PYTHONUNBUFFERED"}
    inherited = {name: value for name, value in os.environ.items() if name not in left_out}
    return inherited | {"JAX_NUM_CPU_DEVICES": str(devices)} | variables


class Processes:
    """A training in several processes with the same number of devices each.

    At the end of a `with` statement, those that still run are killed: a test may have failed.

    Attributes:
      running: the processes, in the order of their numbers.
    """

    def __init__(self, folders: list[Path], devices: int) -> None:
        """Start a process in each folder, which may be the same."""
        address = free_address()
        self._outputs = [Path(f"{folders[0]}.out{index}") for index in range(len(folders))]
        self.running = []
        for index, folder in enumerate(folders):
            described = {ADDRESS: address, COUNT: str(len(folders)), INDEX: str(index)}
            with self._outputs[index].open("w") as output:
                process = subprocess.Popen(
                    TRAIN, cwd=folder, env=environment(devices, **described), stdout=output,
                    stderr=subprocess.STDOUT,
                )  # fmt: skip
            self.running.append(process)

    def __enter__(self) -> "Processes":
        """Return the processes, which have started."""
        return self

    def __exit__(self, *_: object) -> None:
        """Kill the processes that still run, also stopped ones, and wait for all."""
        for process in self.running:
            process.kill()
        for process in self.running:
            process.wait(30)

    def wait_for_line(self, text: str) -> None:
        """Wait until process 0 has printed a text."""
        end = time.monotonic() + 120
        while text not in self.printed(0):
            assert self.running[0].poll() is None, self.printed(0)
            assert time.monotonic() < end, self.printed(0)
            time.sleep(0.05)

    def printed(self, index: int) -> str:
        return self._outputs[index].read_text()

    def errors(self, index: int) -> list[str]:
        return [line for line in self.printed(index).splitlines() if "error" in line.lower()]

    def end(self, index: int, number: signal.Signals) -> None:
        self.running[index].send_signal(number)

    def exit_codes(self, seconds: float = 300) -> list[int]:
        """Wait for all processes to end."""
        return [process.wait(seconds) for process in self.running]
