import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from filelock import FileLock
from folder_content import folder_content

from vit_hk.errors import UserError
from vit_hk.params import ModelSettings
from vit_hk.timing import read_timing
from vit_hk.training.fit_calibration import calibrate
from vit_hk.training.loop import NotFiniteError, StoppedError
from vit_hk.training.state import lock_folders, state_folder
from vit_hk.weights import load_weights, read_weights
from vit_hk.weights_metadata import weights_digest


def test_training_succeeds_and_prints_its_size(finished):
    ended = finished[1]["train"]
    assert ended.code == 0, ended.err
    lines = ended.out.splitlines()
    assert lines[0] == "36 training and 12 validation images of mnist (NPZ file: made for a test)"
    assert "parameters on cpu" in lines[1]
    assert ended.err == ""


def test_history_has_a_row_for_each_epoch(finished, settings_of_tests):
    history = pd.read_csv(finished[0] / "results" / "history.csv")
    assert list(history.columns) == [
        "epoch", "train_loss", "validation_loss", "validation_accuracy", "learning_rate",
    ]  # fmt: skip
    epochs = settings_of_tests["train"]["epochs"]
    assert history["epoch"].tolist() == list(range(1, epochs + 1))
    assert np.isfinite(history).all().all()
    assert history["validation_accuracy"].between(0, 1).all()


def test_model_learns(finished):
    history = pd.read_csv(finished[0] / "results" / "history.csv")
    assert history["train_loss"].iloc[-1] < 0.8 * history["train_loss"].iloc[0]
    # Chance is a third.
    assert history["validation_accuracy"].iloc[-1] > 0.8


def test_weights_file_describes_model_data_and_classes(finished, tiny_dataset, settings_of_tests):
    settings = ModelSettings(**settings_of_tests["model"])
    params, info, _ = load_weights(
        finished[0] / "models" / "vit.safetensors", settings, tiny_dataset
    )
    assert info.model == settings
    assert info.seed == settings_of_tests["seed"]
    assert (info.data, info.source) == ("mnist", "NPZ file: made for a test")
    assert info.class_names == ["left", "middle", "right"]
    assert info.image_shape == [8, 12, 2]
    assert len(info.mean) == len(info.std) == 2
    assert any(module.endswith("head") for module in params)


def test_training_goes_on_from_the_weights_of_a_file(here, copy, edit):
    (copy / "models" / "vit.safetensors").rename(copy / "models" / "first.safetensors")
    rate = 1e-30  # leaves each weight as it is, by rounding
    edit(train__init_from="models/first.safetensors", train__epochs=1, train__learning_rate=rate)
    ended = here("train", copy)
    assert ended.code == 0, ended.err
    start = "starting from models/first.safetensors, trained on mnist: head kept"
    assert ended.out.splitlines()[0] == start
    first, second = (copy / "models" / f"{name}.safetensors" for name in ("first", "vit"))
    assert second.read_bytes() == first.read_bytes()


def test_state_stays_unless_dvc_is_known_to_take_the_results(here, copy, edit, monkeypatch):
    # Where it is known, `test_finished_training_leaves_no_state`.
    monkeypatch.setenv("LAUNCH", "mpirun -n 1")
    edit(train__epochs=1)
    assert here("train", copy).code == 0
    assert any((copy / ".scratch/train").glob("*/*.sha256.json"))


@pytest.fixture
def trained_during_an_edit(here, copy, edit, monkeypatch):
    """Return a function that trains in `copy` while params.yaml is edited, which is undone then."""
    edit(train__epochs=1)
    former = (copy / "params.yaml").read_text("utf-8")

    def calibrate_after_an_edit(*arguments):
        edit(train__epochs=2)
        return calibrate(*arguments)

    def run(**environment):
        with monkeypatch.context() as patch:
            patch.setattr("vit_hk.training.fit_calibration.calibrate", calibrate_after_an_edit)
            ended = here("train", copy, **environment)
        (copy / "params.yaml").write_text(former, "utf-8")
        return ended

    return run


def test_change_during_a_training_is_refused_where_dvc_would_record_it(
    here, copy, trained_during_an_edit
):
    before = folder_content(copy / "models")
    ended = trained_during_an_edit(DVC_STAGE="train")
    assert ended.code == 1
    assert "changed during the training: params.yaml; " in ended.err
    assert folder_content(copy / "models") == before
    # The change is undone.
    ended = here("train", copy, DVC_STAGE="train")
    assert ended.code == 0
    assert "resumed after step" in ended.out
    assert not any((copy / ".scratch/train").glob("*/*.sha256.json"))


def test_change_during_a_training_by_hand_is_recorded_by_nobody(trained_during_an_edit):
    assert trained_during_an_edit().code == 0


def test_training_whose_dvc_has_ended_writes_no_results(here, copy, edit, monkeypatch):
    edit(train__epochs=1)
    before = folder_content(copy / "models"), folder_content(copy / "results")
    monkeypatch.setattr("stages.PARENT", -1)  # the parent of an orphan is another process
    ended = here("train", copy, DVC_STAGE="train")
    assert ended.code == 0
    assert ended.out.splitlines()[-1] == "dvc has ended; to write the results at once: dvc repro"
    assert (folder_content(copy / "models"), folder_content(copy / "results")) == before
    monkeypatch.undo()
    ended = here("train", copy, DVC_STAGE="train")
    assert ended.code == 0
    assert "resumed after step" in ended.out
    assert (folder_content(copy / "models"), folder_content(copy / "results")) != before
    digest = weights_digest(copy / "models/vit.safetensors")
    timing = read_timing(copy / "results/timing.json", digest)
    assert timing["train"]["train_seconds"] > 0  # of the process that took the steps
    recorded = json.loads((copy / "results/timing.json").read_text("utf-8"))
    assert "images_per_second" not in recorded["train"]  # dvc metrics would show a rate of 0


def test_weights_file_has_the_calibration_of_its_model(finished, tiny_dataset):
    calibration = read_weights(finished[0] / "models" / "vit.safetensors").calibration
    assert 0.1 <= calibration.temperature <= 10
    assert calibration.threshold > 0
    assert (calibration.class_means != 0).any()
    # The first and the last third of an image have most of its border.
    low, high = calibration.border_range
    border = tiny_dataset.x_train / 255
    assert border[:, 0].mean(axis=(1, 2)).min() - 0.1 < low < high
    assert high < border[:, 0].mean(axis=(1, 2)).max() + 0.1


def test_timing_is_recorded(finished):
    folder = finished[0]
    timing = read_timing(
        folder / "results" / "timing.json", weights_digest(folder / "models" / "vit.safetensors")
    )
    assert set(timing) == {"train", "evaluate"}  # both were measured with these weights
    assert set(timing["train"]) == {"compile_seconds", "train_seconds", "images_per_second"}
    # Not the seconds of evaluate: rounded, 18 images may take 0.000 of them.
    assert timing["train"]["train_seconds"] > 0
    assert all(figures["images_per_second"] > 0 for figures in timing.values())


def test_snapshots_record_how_attention_forms(finished, tiny_dataset):
    with np.load(finished[0] / "results" / "snapshots.npz") as file:
        arrays = dict(file)
    # Those of snapshot_epochs, [1, 2, 50], that were reached, and the last epoch.
    assert arrays["epochs"].tolist() == [1, 2, 40]
    assert arrays["labels"].tolist() == [0, 1, 2]
    assert arrays["images"].shape == (3, *tiny_dataset.image_shape)
    # Epochs, layers, images, heads, patches.
    assert arrays["attention"].shape == (3, 2, 3, 2, 6)
    assert (arrays["attention"].sum(axis=-1) <= 1 + 1e-5).all()
    assert arrays["probabilities"].shape == (3, 3, 3)
    # The probability of the true class grows.
    true = arrays["probabilities"][:, [0, 1, 2], [0, 1, 2]].mean(axis=1)
    assert true[0] < true[-1]


def test_misspelt_setting_is_named(here, refused, copy, edit):
    edit(train__epoch=3)
    line = refused(here, "train", copy)
    assert line.startswith("error: params.yaml: train.epoch is not a setting; did you mean ")


def test_missing_gpu_is_reported_in_one_line(program, refused, start, tree):
    tree["platform"] = "gpu"
    # An empty list hides a GPU, so that the test holds on a machine with one.
    line = refused(
        lambda stage, folder: program(stage, folder, CUDA_VISIBLE_DEVICES=""), "train", start(tree)
    )
    assert "params.yaml: platform is gpu, but JAX sees only cpu" in line


def test_missing_settings_are_named(here, refused, copy):
    (copy / "params.yaml").unlink()
    assert "params.yaml could not be read" in refused(here, "train", copy)


def test_missing_data_set_is_named(here, refused, copy):
    (copy / "data" / "dataset.npz").unlink()
    line = refused(here, "train", copy)
    assert "data/dataset.npz is not there; make it with: dvc repro download" in line


def test_damaged_data_set_is_named(here, refused, copy):
    path = copy / "data" / "dataset.npz"
    path.write_bytes(path.read_bytes()[:-500])
    assert "data/dataset.npz is damaged" in refused(here, "train", copy)


def test_settings_that_do_not_fit_the_data_are_refused_before_jax_starts(
    here, copy, edit, monkeypatch
):
    def fail() -> None:
        raise ValueError("JAX was started")

    monkeypatch.setattr("jax.local_devices", fail)
    edit(train__batch_size=37)
    assert "train.batch_size is 37" in here("train", copy).err


def test_diverged_training_saves_the_last_finite_weights(
    here, copy, monkeypatch, tiny_dataset, settings_of_tests
):
    outputs = [copy / "models" / "vit.safetensors", copy / "results" / "history.csv"]
    before = [path.read_bytes() for path in outputs]
    settings = ModelSettings(**settings_of_tests["model"])
    finite = load_weights(outputs[0], settings, tiny_dataset).params

    def diverge(*_: object) -> None:
        raise NotFiniteError(1234, 0.05, finite)

    # The loop's own test shows that it raises this; a real one would compile for seconds.
    monkeypatch.setattr("vit_hk.training.loop.train", diverge)
    ended = here("train", copy)
    assert ended.code == 1
    (line,) = ended.err.splitlines()
    assert "error: the loss, its gradient or a new weight is not finite at step 1,234 (" in line
    assert "(learning rate 0.05)" in line
    assert "lower train.learning_rate" in line
    assert [path.read_bytes() for path in outputs] == before

    (saved,) = copy.glob(".scratch/train/*/last_finite.safetensors")
    assert str(saved.relative_to(copy)) in line
    load_weights(saved, settings, tiny_dataset)


def test_results_that_cannot_be_written_are_reported_in_one_line(here, monkeypatch, copy):
    def full(*_: object) -> None:
        raise UserError("models/vit.safetensors could not be written: No space left on device")

    # In the modules that the stage imports from, since the stage itself is imported again.
    monkeypatch.setattr("vit_hk.weights.save_weights", full)
    monkeypatch.setattr("vit_hk.training.loop.train", lambda *_: SimpleNamespace(params={}))
    monkeypatch.setattr("vit_hk.training.fit_calibration.calibrate", lambda *_: None)
    ended = here("train", copy)
    assert ended.code == 1
    assert ended.err == (
        "error: models/vit.safetensors could not be written: No space left on device\n"
    )
    # The state of the training stays, so that the next run writes its results.
    assert len(list(copy.glob(".scratch/train/*/lock"))) == 1


def test_finished_training_leaves_no_state(finished):
    assert list((finished[0] / ".scratch" / "train").iterdir()) == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_stop_signal_keeps_the_outputs_and_says_how_to_resume(
    here, copy, monkeypatch, number, code
):
    before = folder_content(copy)

    def stop(*arguments: object) -> None:
        stop_requested = arguments[4]
        os.kill(os.getpid(), number)
        while not stop_requested():
            time.sleep(0.01)
        raise StoppedError(7, 90)

    monkeypatch.setattr("vit_hk.training.loop.train", stop)
    ended = here("train", copy)
    assert ended.code == code
    assert ended.err.splitlines()[-1] == "stopped after step 7 of 90; go on with: dvc repro"
    assert folder_content(copy) == before


def test_of_two_equal_trainings_one_waits_and_takes_the_result(start, settings_of_tests, tmp_path):
    # As two experiments that differ in what they draw: each in a copy of the project.
    processes = []
    environment = os.environ | {"DVC_ROOT": str(tmp_path)}
    settings = settings_of_tests | {"train": settings_of_tests["train"] | {"epochs": 10}}
    for _ in range(2):
        folder = start(settings)
        process = subprocess.Popen(
            [sys.executable, "-m", "stages.train"], cwd=folder, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        processes.append((folder, process))
    printed = [process.communicate(timeout=120)[0] for _, process in processes]
    assert [process.returncode for _, process in processes] == [0, 0], printed
    first, second = ((folder / "models/vit.safetensors").read_bytes() for folder, _ in processes)
    assert first == second
    (waited,) = (text for text in printed if "which trains the same" in text)
    assert "resumed after step 30 of 30" in waited
    assert "epoch  10/10" in "".join(printed)
    assert "epoch   1/10" not in waited
    assert "kill" not in waited
    assert list((tmp_path / ".scratch/train").iterdir()) == []  # the last one removes the state


def test_clones_that_share_the_folder_of_states_train_at_the_same_time(tmp_path, monkeypatch):
    # As the jobs of recipes/cluster/array.sh do.
    states = tmp_path / "project" / ".scratch" / "train"
    states.mkdir(parents=True)
    with contextlib.ExitStack() as locks:
        for name in ("a", "b"):
            scratch = tmp_path / name / ".scratch"
            scratch.mkdir(parents=True)
            (scratch / "train").symlink_to(states)
            monkeypatch.chdir(tmp_path / name)
            locks.enter_context(lock_folders(state_folder(f"settings of {name}")))
    with lock_folders(state_folder("other settings")), pytest.raises(UserError, match="in use"):
        locks.enter_context(lock_folders(state_folder("yet other settings")))


def test_second_training_is_refused_while_one_runs(here, refused, copy):
    folder = copy / ".scratch" / "outputs"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "process").write_text("4711 on node7")
    with FileLock(folder / "lock"):
        line = refused(here, "train", copy)
    assert (
        ".scratch/outputs is in use by another training, process 4711 on node7; wait until" in line
    )
    assert "stop it there with: kill 4711 (" in line
    (folder / "process").unlink()
    with FileLock(folder / "lock"):
        line = refused(here, "train", copy)
    assert "in use by another training, process unknown; wait until it ends, then go on" in line
