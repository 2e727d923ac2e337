"""Ctrl-C and SIGTERM: the first asks a training to stop, the second ends it at once."""

import os
import signal
import sys
import threading
from types import TracebackType
from typing import Self

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Listens for signals inside its `with` block.

    Python runs handlers between two of its own instructions, and a compiled loop can take
    long; so a thread listens, which hears a second signal at any time.

    Attributes:
      signal: number of the signal that asked to stop, or None.
    """

    def __init__(self) -> None:
        """Nothing has been asked for."""
        self.signal: int | None = None

    @property
    def exit_code(self) -> int:
        """128 + the signal's number, as shells count: 130 for Ctrl-C, 143 for SIGTERM."""
        return 128 + (self.signal or 0)

    def asked(self) -> bool:
        """Whether the process has been asked to stop."""
        return self.signal is not None

    def __enter__(self) -> Self:
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        self._before = {number: signal.signal(number, _ignore) for number in SIGNALS}
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
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self._writer)  # ends the thread
        self._thread.join()
        os.close(self._reader)

    def _listen(self) -> None:
        while heard := os.read(self._reader, 1):
            if heard[0] not in SIGNALS:
                continue
            if self.signal is not None:
                os._exit(128 + heard[0])
            self.signal = heard[0]
            print(
                "\nstopping after this piece of the epoch, with all saved; once more stops at once",
                file=sys.stderr, flush=True,
            )  # fmt: skip


def _ignore(*_: object) -> None:
    """A handler of any kind must be there for the thread to be told."""
