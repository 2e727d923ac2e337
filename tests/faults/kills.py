"""Kills a running pipeline at random moments, by each signal and process that can be hit."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
from project_clone import Clone

KILLS_OF_THE_TRAINER = {
    "trainer killed": signal.SIGKILL,
    "trainer terminated": signal.SIGTERM,
    "Ctrl-C": signal.SIGINT,
}
# "dvc alone killed" leaves an orphaned trainer running.
KILLS_OF_DVC = {
    **KILLS_OF_THE_TRAINER,
    "whole group killed": signal.SIGKILL,
    "dvc alone killed": signal.SIGKILL,
}
DVC = ["dvc", "repro"]
TRAINER = [sys.executable, "-m", "stages.train"]
REPAIR = ["python", "-m", "vit_hk.dvc.repair"]


class Kills:
    """Starts a command again and again in one project, and kills it each time.

    Before each start of dvc, half-written files of DVC are set aside, as `make repro` does.

    Attributes:
      counts: how often a running command was killed in each way.
      refused: how often the command did not start beside an orphaned trainer.
      repaired: how often a half-written file of DVC was set aside.
      printed: the output of all runs of the command.
    """

    def __init__(self, clone: Clone, command: list[str], seed: int, max_seconds: float) -> None:
        """Store what to kill, in which clone, and until when; the seed decides the moments."""
        self.clone, self.command, self.max_seconds = clone, command, max_seconds
        self.signals = KILLS_OF_DVC if command[0] == "dvc" else KILLS_OF_THE_TRAINER
        self.random = random.Random(seed)  # noqa: S311
        self.next_kinds: list[str] = []
        self.counts: Counter[str] = Counter()
        self.refused = self.repaired = 0
        self.printed = ""

    def run(self, count: int) -> None:
        """Kill the command `count` times, then run it to its end."""
        while self.counts.total() < count:
            self._start_and_kill()
        orphan = find_trainer(self.clone.folder)
        if orphan:
            _terminate(orphan)
        code, printed = self._wait(self._start())
        assert code == 0, printed

    def _start_and_kill(self) -> None:
        orphan = find_trainer(self.clone.folder)
        process = self._start()
        try:
            process.wait(self.random.uniform(0.0, self.max_seconds))
        except subprocess.TimeoutExpired:
            self._kill(process)
        code, printed = self._wait(process)
        # Ctrl-C while Python imports modules ends in its own traceback, and while DVC draws a
        # progress bar in one of that.
        tracebacks = printed.count("Traceback") - printed.count("<function tqdm.__del__")
        assert tracebacks <= 0 or "KeyboardInterrupt" in printed, printed
        if code > 0 and "is in use by another training, process" in printed:
            self.refused += 1
        if orphan and orphan.is_running():
            _terminate(orphan)

    def _start(self) -> subprocess.Popen[bytes]:
        if self.command[0] == "dvc":
            self.repaired += len(self.clone.run(*REPAIR).splitlines())
        # Output goes to a file, since an orphaned trainer would keep a pipe open.
        self.log = self.clone.folder / ".scratch" / "printed"
        self.log.parent.mkdir(exist_ok=True)
        with self.log.open("wb") as log:
            return subprocess.Popen(
                self.command, cwd=self.clone.folder, env=self.clone.environment,
                stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def _kill(self, process: subprocess.Popen[bytes]) -> None:
        if not self.next_kinds:  # each kind once, then all again in another order
            self.next_kinds = self.random.sample(list(self.signals), len(self.signals))
        kind = self.next_kinds.pop()
        if kind in ("whole group killed", "Ctrl-C"):
            os.killpg(process.pid, self.signals[kind])
        elif kind == "dvc alone killed":
            process.kill()
        else:
            trainer = find_trainer_of(process.pid) or psutil.Process(process.pid)
            trainer.send_signal(self.signals[kind])
        self.counts[kind] += 1

    def _wait(self, process: subprocess.Popen[bytes]) -> tuple[int, str]:
        """Wait for the end of a process and return its exit code and output."""
        code = process.wait(600)
        printed = self.log.read_text("utf-8", errors="replace")
        self.printed += printed
        return code, printed


def find_trainer(folder: Path) -> psutil.Process | None:
    """Return the process that trains in this project, whichever process started it."""
    for process in psutil.process_iter():
        try:
            if _is_trainer(process) and process.cwd() == str(folder.resolve()):
                return process
        except psutil.Error:  # it has ended meanwhile, or belongs to another user
            continue
    return None


def find_trainer_of(pid: int) -> psutil.Process | None:
    """Return the training that this process has started, or None."""
    try:
        return next(filter(_is_trainer, psutil.Process(pid).children(recursive=True)), None)
    except psutil.Error:
        return None


def _is_trainer(process: psutil.Process) -> bool:
    return "stages.train" in process.cmdline()  # a shell has it inside a longer argument


def _terminate(process: psutil.Process) -> None:
    process.terminate()
    process.wait(60)


def wait_for(folder: Path, pattern: str, seconds: float = 60.0) -> Path:
    """Wait until a file below `folder` matches `pattern`, and return it."""
    end = time.monotonic() + seconds
    while not (found := list(folder.glob(pattern))):
        assert time.monotonic() < end, f"{folder}: no {pattern}"
        time.sleep(0.02)
    return found[0]
