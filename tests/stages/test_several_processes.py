"""Several real processes train one model, as on several machines: over TCP, with Gloo."""

import contextlib
import copy as copying
import functools
import shutil
import signal
import subprocess

import pytest
from folder_content import folder_content
from processes import TRAIN, Processes, environment, free_address
from settings_file import AUGMENTATION_OFF, change_settings

from vit_hk.runtime.launcher_variables import ADDRESS


@pytest.fixture(scope="module")
def project_with(start, settings_of_tests):
    """Return a function that creates an untrained project with some changed settings."""

    def create(model=None, **train):
        settings = copying.deepcopy(settings_of_tests)
        settings["model"] |= {"num_layers": 1} | (model or {})
        settings["train"] |= {"batch_size": 16} | train
        return start(settings)

    return create


@pytest.fixture(scope="module")
def random_project(project_with):
    """Return a function that creates an untrained project whose batches and model are random.

    Muon divides its work between the processes. The other augmentations take long to compile;
    tests/training compares their layouts.
    """
    augment = AUGMENTATION_OFF | {"shift": 1, "erase": 0.5}
    # So many epochs that a training that is to be stopped has not ended before that, also on a
    # busy machine, where the test may notice the first epoch late.
    return functools.partial(
        project_with, {"dropout": 0.1}, augment=augment, epochs=12, optimizer="muon"
    )


@pytest.fixture(scope="module")
def of_one_process(random_project):
    """Return the outputs of a training in one process with four devices."""
    folder = random_project()
    with Processes([folder], 4) as process:
        assert process.exit_codes() == [0], process.printed(0)
    return outputs(folder)


def outputs(folder):
    content = folder_content(folder)
    names = ("models/vit.safetensors", "results/history.csv", "results/snapshots.npz")
    return {name: content[name] for name in names}


def test_four_processes_of_mpirun_give_the_bytes_of_one_with_as_many_devices(
    random_project, of_one_process
):
    folder = random_project()
    run = subprocess.run(
        ["mpirun", "--allow-run-as-root", "--oversubscribe", "--timeout", "300", "-n", "4", *TRAIN],
        cwd=folder, env=environment(1, **{ADDRESS: free_address()}), capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("epoch   1/12") == 1  # the others print none
    assert outputs(folder) == of_one_process
    # One of the others could still fail, or the launcher outlive DVC: the state stays.
    assert len(list(folder.glob(".scratch/train/*/24.sha256.json"))) == 1


def test_a_stop_of_one_process_stops_all_and_one_process_goes_on(random_project, of_one_process):
    folder = random_project()
    with Processes([folder] * 2, 2) as processes:
        processes.wait_for_line("epoch   1/")
        processes.end(1, signal.SIGTERM)
        assert processes.exit_codes() == [143, 143]
    assert "stopped after step" in processes.printed(0)
    assert "epoch" not in processes.printed(1)
    assert not (folder / "models" / "vit.safetensors").exists()
    with Processes([folder], 4) as resumed:
        assert resumed.exit_codes() == [0]
    assert "resumed after step" in resumed.printed(0)
    assert outputs(folder) == of_one_process
    assert b"4 x cpu" in of_one_process["models/vit.safetensors"][:4000]


def test_when_a_process_is_gone_the_others_end_and_name_it(project_with):
    with contextlib.ExitStack() as running:
        runs = []
        for number, index in [(signal.SIGKILL, 0), (signal.SIGSTOP, 1)]:
            run = running.enter_context(Processes([project_with(epochs=100_000)] * 2, 1))
            run.wait_for_line("epoch   1/")
            run.end(index, number)
            runs.append((run, index))  # the others wait while the next run starts
        for run, index in runs:
            survivor = 1 - index
            assert run.running[survivor].wait(30) == 1
            assert run.errors(survivor) == [
                f"error: of 2 processes, process {index} is gone; the last checkpoint is kept; go "
                "on with the same command"
            ]


def test_processes_with_other_settings_are_refused(project_with):
    folder = project_with(epochs=100_000)
    other = folder.with_name("other")
    shutil.copytree(folder, other, symlinks=True)
    change_settings(other / "params.yaml", {"train__learning_rate": 0.5})
    with Processes([folder, other], 1) as processes:
        assert processes.exit_codes(60) == [1, 1]
    assert "error: process 1 differs from process 0: use the same params.yaml" in "".join(
        processes.errors(0) + processes.errors(1)
    )
    assert not any("Traceback" in processes.printed(index) for index in range(2))


def test_processes_that_do_not_share_a_folder_are_refused(project_with):
    folder = project_with()
    other = folder.with_name("copy")
    shutil.copytree(folder, other, symlinks=True)
    with Processes([folder, other], 1) as processes:
        assert processes.exit_codes(60) == [1, 1]
    assert "process 1 differs from process 0: run all in one folder, on a shared disk" in "".join(
        processes.errors(0) + processes.errors(1)
    )
