"""Kill a running pipeline at random moments, in all the ways in which one gets killed."""

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

WITHOUT_DVC = {
    "trainer killed": signal.SIGKILL,
    "trainer terminated": signal.SIGTERM,
    "Ctrl-C": signal.SIGINT,
}
# "dvc alone killed" leaves a trainer behind that nobody waits for.
WITH_DVC = {
    **WITHOUT_DVC,
    "whole group killed": signal.SIGKILL,
    "dvc alone killed": signal.SIGKILL,
}
DVC = ["dvc", "repro"]
TRAINER = [sys.executable, "-m", "stages.train"]
MEND = ["python", "-m", "vit_hk.dvc_files"]


class Kills:
    """Starts a command again and again in one project, and kills it each time.

    Before dvc, what a killed one left half-written is removed, as `make repro` does.

    Attributes:
      done: how often each way has been used on a command that was running.
      refused: how often the command would not start beside a trainer that had been left behind.
      mended: how often a file of DVC had been left half-written.
      printed: all that the command has printed.
    """

    def __init__(self, clone: Clone, command: list[str], seed: int, longest: float) -> None:
        """Kill `command` in `clone` within `longest` seconds, at moments that follow from seed."""
        self.clone, self.command, self.longest = clone, command, longest
        self.ways = WITH_DVC if command[0] == "dvc" else WITHOUT_DVC
        self.random = random.Random(seed)  # noqa: S311
        self.done: Counter[str] = Counter()
        self.refused = self.mended = 0
        self.printed = ""

    def run(self, count: int) -> None:
        """Kill the command `count` times, then let it end well."""
        while self.done.total() < count:
            self._round()
        left = find_trainer(self.clone.folder)
        if left:
            _end(left)
        code, printed = self._until_it_ends(self._start())
        assert code == 0, printed

    def _round(self) -> None:
        left = find_trainer(self.clone.folder)
        process = self._start()
        try:
            process.wait(self.random.uniform(0.0, self.longest))
        except subprocess.TimeoutExpired:
            self._hit(process)
        code, printed = self._until_it_ends(process)
        # While Python imports, Ctrl-C is its own affair.
        assert "Traceback" not in printed or "KeyboardInterrupt" in printed, printed
        if code > 0 and "is in use by another training, process" in printed:
            self.refused += 1
        if left and left.is_running():
            _end(left)

    def _start(self) -> subprocess.Popen[bytes]:
        if self.command[0] == "dvc":
            self.mended += len(self.clone.run(*MEND).splitlines())
        # A file, since a trainer that is left behind would keep a pipe open.
        self.log = self.clone.folder / ".scratch" / "printed"
        self.log.parent.mkdir(exist_ok=True)
        with self.log.open("wb") as log:
            return subprocess.Popen(
                self.command, cwd=self.clone.folder, env=self.clone.environment,
                stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def _hit(self, process: subprocess.Popen[bytes]) -> None:
        way = self.random.choice(list(self.ways))
        if way in ("whole group killed", "Ctrl-C"):
            os.killpg(process.pid, self.ways[way])
        elif way == "dvc alone killed":
            process.kill()
        else:
            (trainer_of(process.pid) or psutil.Process(process.pid)).send_signal(self.ways[way])
        self.done[way] += 1

    def _until_it_ends(self, process: subprocess.Popen[bytes]) -> tuple[int, str]:
        code = process.wait(600)
        printed = self.log.read_text("utf-8", errors="replace")
        self.printed += printed
        return code, printed


def find_trainer(folder: Path) -> psutil.Process | None:
    """The process that trains in this project, whoever started it."""
    for process in psutil.process_iter():
        try:
            if _trains(process) and process.cwd() == str(folder.resolve()):
                return process
        except psutil.Error:  # it has ended meanwhile, or is not ours
            continue
    return None


def trainer_of(pid: int) -> psutil.Process | None:
    """The training that this dvc has started, if it has."""
    try:
        return next(filter(_trains, psutil.Process(pid).children(recursive=True)), None)
    except psutil.Error:
        return None


def _trains(process: psutil.Process) -> bool:
    return "stages.train" in process.cmdline()  # of a shell, it is part of a longer word


def _end(process: psutil.Process) -> None:
    process.terminate()
    process.wait(60)


def wait_for(folder: Path, pattern: str, seconds: float = 60.0) -> Path:
    """Wait until something in `folder` matches, and return it."""
    end = time.monotonic() + seconds
    while not (found := list(folder.glob(pattern))):
        assert time.monotonic() < end, f"{folder}: no {pattern}"
        time.sleep(0.02)
    return found[0]
