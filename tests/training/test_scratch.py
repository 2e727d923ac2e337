import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest

from vit_hk.errors import UserError
from vit_hk.training import scratch
from vit_hk.training.scratch import only_trainer, scratch_folder, training_key

CPU = SimpleNamespace(platform="cpu", device_kind="cpu")


@pytest.fixture
def dataset(tmp_path):
    path = tmp_path / "dataset.npz"
    path.write_bytes(b"digits")
    return path


def test_same_training_has_the_same_key(make_params, dataset, tmp_path):
    elsewhere = tmp_path / "elsewhere.npz"
    shutil.copy(dataset, elsewhere)
    key = training_key(make_params(), dataset, CPU)
    assert training_key(make_params(), elsewhere, CPU) == key
    assert len(key) == 16


@pytest.mark.parametrize(
    "change",
    [{"seed": 1}, {"model": {"num_layers": 2}}, {"learning_rate": 0.02}, {"checkpoint_steps": 7}],
    ids=str,
)
def test_each_setting_that_counts_changes_the_key(make_params, dataset, change):
    assert training_key(make_params(**change), dataset, CPU) != training_key(
        make_params(), dataset, CPU
    )


def test_data_device_packages_and_code_change_the_key(make_params, dataset, monkeypatch, tmp_path):
    keys = {training_key(make_params(), dataset, CPU)}
    keys.add(
        training_key(make_params(), dataset, SimpleNamespace(platform="gpu", device_kind="H200"))
    )
    with monkeypatch.context() as patch:
        patch.setattr(scratch, "version", lambda name: f"another {name}")
        keys.add(training_key(make_params(), dataset, CPU))
    room = tmp_path / "vit_hk"
    shutil.copytree(scratch.ROOM, room)
    monkeypatch.setattr(scratch, "ROOM", room)
    for name in ("model/attention.py", "training/step.py", "dataset.py", "params.py"):
        with (room / name).open("a") as file:
            file.write("# changed\n")
        keys.add(training_key(make_params(), dataset, CPU))
    dataset.write_bytes(b"other digits")
    keys.add(training_key(make_params(), dataset, CPU))
    assert len(keys) == 8


def test_pictures_and_what_training_does_not_read_leave_the_key(
    make_params, dataset, monkeypatch, tmp_path
):
    key = training_key(make_params(), dataset, CPU)
    params = make_params()
    other = params.model_copy(
        update={"evaluate": params.evaluate.model_copy(update={"batch_size": 7})}
    )
    assert training_key(other, dataset, CPU) == key
    room = tmp_path / "vit_hk"
    shutil.copytree(scratch.ROOM, room)
    monkeypatch.setattr(scratch, "ROOM", room)
    with (room / "figures/curves.py").open("a") as file:
        file.write("# changed\n")
    assert training_key(make_params(), dataset, CPU) == key


def test_state_lies_in_the_project_that_dvc_names(monkeypatch, tmp_path):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    assert scratch_folder("0123") == tmp_path / ".scratch/train/0123"


HOLD = """
import sys
from pathlib import Path
from vit_hk.training.scratch import only_trainer
with only_trainer(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_lock_names_its_process_and_is_taken_over_when_that_is_killed(project, tmp_path, one_line):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], cwd=project, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(UserError) as caught, only_trainer(tmp_path):
        pass
    message = one_line(caught.value)
    assert f"{tmp_path} is in use by another training, process {holder.pid}; wait" in message
    assert f"kill {holder.pid}" in message
    holder.kill()
    holder.wait()
    with only_trainer(tmp_path):
        assert (tmp_path / "process").read_text() == str(os.getpid())
    with only_trainer(tmp_path):  # let go of at the end
        pass


def test_folder_that_cannot_be_made_is_named(tmp_path, one_line):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError) as caught, only_trainer(tmp_path / "file" / "state"):
        pass
    assert f"{tmp_path / 'file' / 'state'} could not be written" in one_line(caught.value)
