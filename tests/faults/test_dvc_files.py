"""What a dvc that is killed while it writes its own files leaves behind."""

import os
import signal
import subprocess
import sys

import pytest
from kills import MEND
from project_clone import outputs


def test_pipeline_goes_on_with_the_same_bytes_where_both_files_are_cut_off(clone):
    expected, whole = outputs(clone.folder), clone.read("dvc.lock")
    for length in (0, 8192):  # DVC writes in pieces of that size
        (clone.folder / ".dvc/tmp/rwlock").write_text("")
        (clone.folder / "dvc.lock").write_bytes(whole[:length])
        clone.run("dvc", "repro", expect=255)
        printed = clone.run(*MEND)
        assert ".dvc/tmp/rwlock, which" in printed
        assert "dvc.lock, which" in printed
        assert "train" not in clone.repro()
        assert outputs(clone.folder) == expected


def test_whole_files_are_left_alone(clone):
    rwlock = clone.folder / ".dvc/tmp/rwlock"
    rwlock.write_text('{"write": {}, "read": {}}')
    conflict = b"<<<<<<< one\n" + clone.read("dvc.lock")
    (clone.folder / "dvc.lock").write_bytes(conflict)
    assert clone.run(*MEND) == ""
    assert rwlock.read_text() == '{"write": {}, "read": {}}'
    assert clone.read("dvc.lock") == conflict


@pytest.fixture
def mend(tmp_path, project):
    """Mends the files in tmp_path."""
    environment = {**os.environ, "PYTHONPATH": str(project)}
    command = [sys.executable, *MEND[1:]]
    return lambda: subprocess.run(command, cwd=tmp_path, env=environment, check=True)


def test_fresh_clone_has_nothing_to_mend(tmp_path, mend):
    (tmp_path / "dvc.lock").write_text("schema: '2.0'\n")
    mend()
    assert (tmp_path / "dvc.lock").read_text() == "schema: '2.0'\n"


@pytest.mark.parametrize("file", ["rwlock", "lock"])
def test_file_that_a_running_dvc_holds_is_left_alone(tmp_path, mend, file):
    temporary = tmp_path / ".dvc/tmp"
    temporary.mkdir(parents=True)
    cut_off = {"rwlock": temporary / "rwlock", "lock": tmp_path / "dvc.lock"}[file]
    cut_off.write_text("")
    guard = temporary / {"rwlock": "rwlock.lock", "lock": "lock"}[file]
    hold = (
        "import sys, dvc.lock; lock = dvc.lock.Lock(sys.argv[1]); lock.lock(); "
        "print(flush=True); input()"
    )
    running = subprocess.Popen(
        [sys.executable, "-c", hold, guard], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    running.stdout.readline()
    try:
        mend()
        assert cut_off.exists()
    finally:
        running.send_signal(signal.SIGKILL)
        running.wait()
    mend()
    assert not cut_off.exists()
