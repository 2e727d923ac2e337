import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from socket import gethostname

import pytest
from filelock import FileLock

from vit_hk.errors import UserError
from vit_hk.training import locking
from vit_hk.training.locking import exclusive_lock, is_awaited, remove_folder

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
    name = f"{holder.pid} on {gethostname()}"
    line = waiting.stdout.readline()
    assert line == f"waiting for the result of process {name}, which trains the same\n"
    wait_until(lambda: is_awaited(tmp_path))
    holder.stdin.close()
    assert waiting.stdout.readline() == "locked\n"
    assert not is_awaited(tmp_path)
    assert (tmp_path / "process").read_text() == f"{waiting.pid} on {gethostname()}"


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
    assert (
        f"{tmp_path} is in use by another training, process {holder.pid} on {gethostname()}; wait"
        in message
    )
    assert f"kill {holder.pid} (" in message
    holder.kill()
    holder.wait()
    with exclusive_lock(tmp_path):
        assert (tmp_path / "process").read_text() == f"{os.getpid()} on {gethostname()}"
    with exclusive_lock(tmp_path):  # the lock was released at the end of the block
        pass


def test_folder_that_is_removed_leaves_none_for_the_next_training(tmp_path):
    folder = tmp_path / "state"
    (tmp_path / ".state.removed" / "old").mkdir(parents=True)  # a process was killed there
    with exclusive_lock(folder):
        (folder / "checkpoint").write_text("")
        remove_folder(folder)
        # Another process may come as soon as the folder is gone.
        with exclusive_lock(folder):
            assert sorted(path.name for path in folder.iterdir()) == ["lock", "process"]
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_process_waits_also_where_the_holder_has_just_removed_the_folder(tmp_path, monkeypatch):
    folder = tmp_path / "state"

    def read_holder_and_let_it_end(_: Path) -> str:
        remove_folder(folder)
        holder.release()
        return "1"

    monkeypatch.setattr(locking, "read_holder", read_holder_and_let_it_end)
    folder.mkdir()
    holder = FileLock(folder / "lock")
    holder.acquire()
    with exclusive_lock(folder, wait=True):
        assert sorted(path.name for path in folder.iterdir()) == ["lock", "process"]


def test_process_waits_also_where_the_holder_removes_the_folder_meanwhile(tmp_path):
    folder = tmp_path / "state"
    folder.mkdir()
    holder = FileLock(folder / "lock")
    holder.acquire()
    has_lock = threading.Event()

    def wait() -> None:
        with exclusive_lock(folder, wait=True):
            has_lock.set()

    thread = threading.Thread(target=wait)
    thread.start()
    wait_until(lambda: is_awaited(folder))
    time.sleep(0.3)  # it tries every 0.05 seconds
    remove_folder(folder)
    time.sleep(0.3)
    holder.release()
    thread.join(10)
    assert has_lock.is_set()


def test_folder_that_cannot_be_created_is_named(tmp_path, one_line):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError) as caught, exclusive_lock(tmp_path / "file" / "state"):
        pass
    assert f"{tmp_path / 'file' / 'state'} could not be written" in one_line(caught.value)
