"""A watch over the processes of a run: when one is gone, the others end and say which it was."""

import contextlib
import itertools
import os
import sys
import threading
import time
from typing import Any

# A process that has not been heard of for this long is gone. Compilation releases Python's lock, so
# that a living one speaks up every second.
SILENCE_SECONDS, PERIOD_SECONDS = 15.0, 1.0
COLLECTIVES = ("Gloo", "NCCL")  # the libraries of collective operations, whose errors name them
ALIVE, FAILED = "vit_hk/alive/", "vit_hk/failed/"  # keys of JAX's key-value store


class Watch:
    """Two threads that say that this process lives, and end it when another one does not.

    Attributes:
      is_over: an event that ends the watch.
    """

    def __init__(self, client: Any, index: int, count: int) -> None:
        """Start the threads that watch over the other processes.

        Args:
          client: JAX's client of the coordination service.
          index: the number of this process.
          count: the number of processes.
        """
        self._client, self._name = client, str(index)
        self._answered = time.monotonic()  # by process 0, which keeps what all of them say
        self._heard = dict.fromkeys(range(count), self._answered)
        self._said: dict[int, str] = {}
        self.is_over = threading.Event()
        for target in (self._exchange, self._supervise):
            threading.Thread(target=target, daemon=True).start()

    def report_failure(self, error: BaseException) -> None:
        """Tell the other processes that this one ends."""
        if self.is_over.is_set():
            return
        if any(name in str(error) for name in COLLECTIVES):
            # It fails because another process is gone. This thread will not come back.
            time.sleep(SILENCE_SECONDS + 10 * PERIOD_SECONDS)
        self.is_over.set()
        with contextlib.suppress(Exception):
            self._client.key_value_set(FAILED + self._name, "", allow_overwrite=True)

    def _exchange(self) -> None:
        """Say each second that this process lives, and read which others do."""
        for number in itertools.count():
            if self.is_over.wait(PERIOD_SECONDS):
                return
            with contextlib.suppress(Exception):  # of any kind: process 0 does not answer
                self._client.key_value_set(ALIVE + self._name, str(number), allow_overwrite=True)
                self._note(self._client.key_value_dir_get(ALIVE))
                for key, _ in self._client.key_value_dir_get(FAILED):
                    self._end(f"process {key.removeprefix(FAILED)} has failed, as its output says")

    def _note(self, entries: list[tuple[str, str]]) -> None:
        """Note when each process has last said something new."""
        self._answered = time.monotonic()
        for key, value in entries:
            index = int(key.removeprefix(ALIVE))
            if self._said.get(index) != value:
                self._said[index], self._heard[index] = value, self._answered

    def _supervise(self) -> None:
        """End this process when process 0, or one that it knows of, is silent for too long."""
        woke = time.monotonic()
        while not self.is_over.wait(PERIOD_SECONDS):
            slept, woke = time.monotonic() - woke, time.monotonic()
            if slept > SILENCE_SECONDS / 2:
                # This process was suspended, perhaps with all others, as Slurm does for a job of
                # higher priority. So they have as long as at first to answer.
                self._answered = woke
                self._heard = dict.fromkeys(self._heard, woke)
            if time.monotonic() - self._answered > SILENCE_SECONDS:
                self._end("process 0 is gone")
            for index, heard in self._heard.items():
                if self._answered - heard > SILENCE_SECONDS:
                    self._end(f"process {index} is gone")

    def _end(self, what: str) -> None:
        if self.is_over.is_set():
            return
        print(
            f"error: of {len(self._heard)} processes, {what}; the last checkpoint is kept; go on "
            "with the same command",
            file=sys.stderr, flush=True,
        )  # fmt: skip
        os._exit(1)  # the main thread may wait for ever, for the process that is gone
