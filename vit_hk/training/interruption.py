"""Ctrl-C and SIGTERM: the first requests a graceful stop, the second exits at once."""

import os
import signal
import sys
import threading
from types import TracebackType
from typing import Self

from vit_hk.runtime.cluster import max_over_processes
from vit_hk.training.output import print_line

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """A request to stop, which a signal sets inside a `with` block.

    Python runs signal handlers in the main thread, between two bytecode instructions, and a call of
    a compiled loop is one instruction. So another thread reads the signals; it receives a second
    signal at any time.

    Attributes:
      signal: number of the first signal, or None.
    """

    def __init__(self) -> None:
        """Create a request that is not set."""
        self.signal: int | None = None

    @property
    def exit_code(self) -> int:
        """The exit code 128 + signal number, as in shells: 130 for Ctrl-C, 143 for SIGTERM."""
        return 128 + (self.signal or 0)

    def is_set(self) -> bool:
        """Return whether a signal has requested a stop of this process, or of one of the others.

        All processes must call this function, so that all stop after the same step.
        """
        agreed = max_over_processes(self.signal or 0)
        if agreed:
            self.signal = agreed
        return bool(agreed)

    def __enter__(self) -> Self:
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        self._former_handlers = {number: signal.signal(number, _ignore) for number in SIGNALS}
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        signal.set_wakeup_fd(-1)
        for number, handler in self._former_handlers.items():
            signal.signal(number, handler)
        os.close(self._writer)  # ends the thread
        self._thread.join()
        os.close(self._reader)

    def _listen(self) -> None:
        is_first = True  # of this process: `signal` may be that of another one
        while received := os.read(self._reader, 1):
            if received[0] not in SIGNALS:
                continue
            if not is_first:
                # Not sys.exit: the main thread may be inside compiled code for minutes.
                os._exit(128 + received[0])
            is_first = False
            self.signal = received[0]
            print_line("\nsaving the state, then stopping; once more stops at once", sys.stderr)


def ignore_signals() -> None:
    """Ignore both signals from now on: the results are written, and DVC must see this succeed."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _ignore(*_: object) -> None:
    """Do nothing: a handler must be there for the wakeup file descriptor to be written."""
