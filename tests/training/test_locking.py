import os
import subprocess
import sys
import time

import pytest

from vit_hk.errors import UserError
from vit_hk.training.locking import exclusive_lock, is_awaited

HOLD_LOCK = """
import sys
import time
from pathlib import Path
from vit_hk.training.locking import exclusive_lock
with exclusive_lock(Path(sys.argv[1]), wait="wait" in sys.argv):
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def hold(project, tmp_path):
    """Return a function that starts a process which holds the lock until its stdin is closed."""
    processes = []

    def start(*options: str) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD_LOCK, str(tmp_path), *options], cwd=project, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()


def test_process_that_waits_takes_over_when_the_holder_ends(hold, tmp_path):
    holder = hold()
    assert holder.stdout.readline() == "locked\n"
    assert not is_awaited(tmp_path)
    waiting = hold("wait")
    assert waiting.stdout.readline() == (
        f"waiting for the result of process {holder.pid}, which trains the same\n"
    )
    wait_until(lambda: is_awaited(tmp_path))
    holder.stdin.close()
    assert waiting.stdout.readline() == "locked\n"
    assert not is_awaited(tmp_path)
    assert (tmp_path / "process").read_text() == str(waiting.pid)


def test_killed_process_does_not_wait(hold, tmp_path):
    assert hold().stdout.readline() == "locked\n"
    waiting = hold("wait")
    wait_until(lambda: is_awaited(tmp_path))
    waiting.kill()
    waiting.wait()
    assert not is_awaited(tmp_path)


def wait_until(condition) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_lock_names_its_process_and_is_released_when_that_is_killed(hold, tmp_path, one_line):
    holder = hold()
    assert holder.stdout.readline() == "locked\n"
    with pytest.raises(UserError) as caught, exclusive_lock(tmp_path):
        pass
    message = one_line(caught.value)
    assert f"{tmp_path} is in use by another training, process {holder.pid}; wait" in message
    assert f"kill {holder.pid}" in message
    holder.kill()
    holder.wait()
    with exclusive_lock(tmp_path):
        assert (tmp_path / "process").read_text() == str(os.getpid())
    with exclusive_lock(tmp_path):  # the lock was released at the end of the block
        pass


def test_folder_that_cannot_be_created_is_named(tmp_path, one_line):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError) as caught, exclusive_lock(tmp_path / "file" / "state"):
        pass
    assert f"{tmp_path / 'file' / 'state'} could not be written" in one_line(caught.value)
