import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vit_hk.errors import UserError
from vit_hk.training.checkpoint import Checkpoints
from vit_hk.training.progress import Epoch, Progress, Snapshot
from vit_hk.training.train_step import TrainState

OPTIMIZER = optax.chain(
    optax.identity(), optax.scale_by_adam(), optax.scale_by_schedule(lambda _: 1)
)


def progress(step: int) -> Progress:
    """Return a progress whose arrays depend on the step and have no equal elements."""
    params = jnp.arange(1, 6, dtype=jnp.float32) / 3 + step
    optimizer = jax.tree.map(
        lambda leaf: leaf + jnp.asarray(step, leaf.dtype), OPTIMIZER.init(params)
    )
    frozen = {"vit": {"position": params.reshape(5, 1) / 9}}
    state = TrainState(
        jnp.int32(step), params, params / 7, optimizer, jnp.float32(step / 11), frozen
    )
    random = np.random.default_rng(step)
    snapshots = [
        Snapshot(n, *(random.random(shape, np.float32) for shape in ((2, 3, 1, 4), (3, 5))))
        for n in range(1, 1 + step % 3)
    ]
    history = [Epoch(n, step / 3, step / 7, step / 13, 1e-5 / 3) for n in range(1, step + 1)]
    return Progress(state, history, snapshots, step / 17)


def assert_equal(actual: Progress, expected: Progress) -> None:
    assert jax.tree.structure(actual.state) == jax.tree.structure(expected.state)
    assert (actual.history, actual.seconds) == (expected.history, expected.seconds)
    leaves = zip(*map(jax.tree.leaves, (actual, expected)), strict=True)
    for array, expected_array in leaves:
        np.testing.assert_array_equal(array, expected_array)
        assert np.asarray(array).dtype == np.asarray(expected_array).dtype


@pytest.fixture
def saved(tmp_path):
    """Return a folder after the checkpoints 1 to 4 were saved."""
    checkpoints = Checkpoints(tmp_path / "state")
    for step in range(1, 5):
        checkpoints.save(progress(step))
    return tmp_path / "state"


def restore(folder) -> Progress:
    return Checkpoints(folder).restore(progress(0))


def test_without_a_checkpoint_the_start_is_returned(tmp_path):
    start = progress(0)
    assert Checkpoints(tmp_path / "none").restore(start) is start


def test_restored_progress_equals_the_saved_one(saved):
    assert_equal(restore(saved), progress(4))


def test_progress_without_a_moving_average_is_restored(tmp_path):
    start, later = (
        some._replace(state=some.state._replace(ema=None)) for some in (progress(0), progress(3))
    )
    Checkpoints(tmp_path).save(later)
    assert_equal(Checkpoints(tmp_path).restore(start), later)


def test_the_newest_two_are_kept(saved):
    assert sorted(path.name for path in saved.iterdir()) == [
        "3", "3.sha256.json", "4", "4.sha256.json",
    ]  # fmt: skip


def files_in(folder) -> list:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def flip_a_bit(path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate(path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def empty(path) -> None:
    path.write_bytes(b"")


DAMAGES = [flip_a_bit, truncate, empty, Path.unlink]


def test_damage_to_any_file_is_detected_and_the_former_checkpoint_used(saved, capsys, tmp_path):
    # Each file is damaged in one way, and the first in all ways.
    names = [path.relative_to(saved) for path in files_in(saved / "4") if path.stat().st_size]
    cases = [*zip(names, itertools.cycle(DAMAGES)), *((names[0], each) for each in DAMAGES[1:])]
    assert len(cases) > 2 * len(DAMAGES)
    for number, (name, damage) in enumerate(cases):
        folder = tmp_path / f"copy {number}"
        shutil.copytree(saved, folder)
        damage(folder / name)
        assert_equal(restore(folder), progress(3))
        warning = capsys.readouterr().err
        assert warning.startswith(f"warning: checkpoint {folder / '4'} is damaged: 1 of its files")
        assert name.relative_to("4").as_posix() in warning
    # The damaged checkpoint is deleted, so that step 4 can be saved again.
    Checkpoints(folder).save(progress(4))
    assert_equal(restore(folder), progress(4))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"a": 1}', "\x00\xff"])
def test_checkpoint_with_damaged_checksums_is_skipped(saved, capsys, text):
    (saved / "4.sha256.json").write_text(text, "latin-1")
    assert_equal(restore(saved), progress(3))
    assert f"checkpoint {saved / '4'} is damaged" in capsys.readouterr().err


def test_checkpoint_of_which_only_the_checksums_remain_is_skipped(saved, capsys):
    shutil.rmtree(saved / "4")
    assert_equal(restore(saved), progress(3))
    assert "is damaged" in capsys.readouterr().err


def test_checkpoint_with_an_extra_file_is_skipped(saved, capsys):
    (saved / "4" / "more").write_text("x")
    assert_equal(restore(saved), progress(3))
    assert "is damaged" in capsys.readouterr().err


def test_incomplete_checkpoint_is_deleted_without_a_warning(saved, capsys):
    (saved / "4.sha256.json").unlink()
    (saved / "5.orbax-checkpoint-tmp").mkdir()
    assert_equal(restore(saved), progress(3))
    assert capsys.readouterr().err == ""
    assert sorted(path.name for path in saved.iterdir()) == ["3", "3.sha256.json"]


def test_if_all_are_damaged_the_error_names_the_command_that_starts_again(saved, one_line, capsys):
    for step in ("3", "4"):
        flip_a_bit(files_in(saved / step)[0])
    before = files_in(saved)
    with pytest.raises(UserError) as caught:
        restore(saved)
    assert f"no checkpoint in {saved} can be read; start again with: rm -r" in one_line(
        caught.value
    )
    assert capsys.readouterr().err.count("is damaged") == 2
    assert files_in(saved) == before


SAVE_FOREVER = """
import pathlib, sys
sys.path[:0] = ["{here}", "{project}"]
from test_checkpoint import progress
from vit_hk.training.checkpoint import Checkpoints
checkpoints = Checkpoints(pathlib.Path(sys.argv[1]))
for step in range(1, 10**6):
    checkpoints.save(progress(step % 50 + 50 * step))
"""


def test_folder_has_an_intact_checkpoint_at_any_moment(tmp_path, project, capsys):
    # Copies at random moments while a process saves are what a loss of power would leave.
    folder = tmp_path / "state"
    code = SAVE_FOREVER.format(here=project / "tests/training", project=project)
    saver = subprocess.Popen([sys.executable, "-c", code, str(folder)])
    try:
        while len(list(folder.glob("*.json"))) < 2:
            time.sleep(0.05)
            assert saver.poll() is None
        random = np.random.default_rng(0)
        copies, newest = [], set()
        # Until several were saved meanwhile, on a busy machine too.
        while len(copies) < 16 or len(newest) < 4:
            time.sleep(random.uniform(0, 0.15))
            saver.send_signal(signal.SIGSTOP)
            os.waitpid(saver.pid, os.WUNTRACED)  # until all of its threads have stopped
            copies.append(shutil.copytree(folder, tmp_path / f"{len(copies)}"))
            saver.send_signal(signal.SIGCONT)
            newest.add(max(int(path.name.split(".")[0]) for path in copies[-1].glob("[0-9]*.json")))
    finally:
        saver.kill()
        saver.wait()
    restored = [restore(copy) for copy in copies]
    steps = [int(each.state.step) for each in restored]
    assert steps == sorted(steps)
    assert set(steps) == newest
    for each in restored:
        assert_equal(each, progress(int(each.state.step)))
    assert capsys.readouterr().err == ""


def test_full_disk_ends_in_one_line_and_keeps_the_former_checkpoint(saved, project, tmp_path):
    # In a process of its own, since Orbax's threads print their errors.
    code = f"""
import pathlib, resource, sys
sys.path[:0] = ["{project / "tests/training"}", "{project}"]
from small_disk import disk_of
from test_checkpoint import progress
from vit_hk.training.checkpoint import Checkpoints
from vit_hk.errors import one_line_errors
for size in (0, 100, 400):
    try:
        with disk_of(size), one_line_errors():
            Checkpoints(pathlib.Path(sys.argv[1], str(size))).save(progress(5))
    except SystemExit as end:
        assert end.code == 1
    else:
        raise AssertionError(size)
"""
    sizes = ("0", "100", "400")
    for size in sizes:
        shutil.copytree(saved, tmp_path / size)
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": str(project / "tests")},
    )  # fmt: skip
    assert "Traceback" not in run.stderr
    assert run.returncode == 0
    lines = [line for line in run.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == len(sizes)
    for size, line in zip(sizes, lines, strict=True):
        assert line.startswith(f"error: {tmp_path / size / '5'} could not be written")
        assert_equal(restore(tmp_path / size), progress(4))
