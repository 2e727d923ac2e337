"""Half-written files of a DVC that was killed."""

import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

REPAIR = ("python", "-m", "vit_hk.dvc.repair")


def test_pipeline_goes_on_without_training_again_after_both_files_were_cut_off(clone):
    weights, lock = clone.read("models/vit.safetensors"), clone.read("dvc.lock")
    half_of_lock = lock[: lock.rindex(b"md5:", 0, 8192) + 2]  # DVC writes blocks of 8,192 bytes
    for name, half in ((".dvc/tmp/rwlock", b""), ("dvc.lock", half_of_lock)):
        (clone.folder / name).write_bytes(half)
        clone.run("dvc", "repro", "train", expect=255)
        assert clone.run(*REPAIR).startswith(f"{name}, which")
        assert clone.read(f"{name}.truncated") == half
    # DVC keeps no run of download, whose output it does not remove; all else is restored.
    assert clone.repro("train") == ["download"]
    assert clone.read("models/vit.safetensors") == weights


def test_complete_files_are_left_alone(clone):
    rwlock = clone.folder / ".dvc/tmp/rwlock"
    rwlock.write_text('{"write": {}, "read": {}}')
    conflict = b"<<<<<<< one\n" + clone.read("dvc.lock")
    (clone.folder / "dvc.lock").write_bytes(conflict)
    assert clone.run(*REPAIR) == ""
    assert rwlock.read_text() == '{"write": {}, "read": {}}'
    assert clone.read("dvc.lock") == conflict


@pytest.fixture
def repair(tmp_path) -> Callable[[], object]:
    """Return a function that repairs the files in tmp_path."""
    return lambda: subprocess.run([sys.executable, *REPAIR[1:]], cwd=tmp_path, check=True)


def test_fresh_clone_needs_no_repair(tmp_path, repair):
    (tmp_path / "dvc.lock").write_text("schema: '2.0'\n")
    repair()
    assert (tmp_path / "dvc.lock").read_text() == "schema: '2.0'\n"


@pytest.mark.parametrize("file", ["rwlock", "lock"])
def test_file_that_a_running_dvc_holds_is_left_alone(tmp_path, repair, file):
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
        repair()
        assert cut_off.exists()
    finally:
        running.send_signal(signal.SIGKILL)
        running.wait()
    repair()
    assert not cut_off.exists()
