"""`python -m benchmarks.gpu` on a CPU: its JSON and its table are complete, whatever fails."""

import dataclasses
import json
import subprocess
import sys
import time

import pytest

from benchmarks.gpu import pack
from benchmarks.gpu import run as run_module
from benchmarks.gpu.contender import TOO_SLOW, Contender, ContenderError
from benchmarks.gpu.model_tests import OPTIONS
from benchmarks.gpu.plan import Plan, full_plan, make_cells
from benchmarks.gpu.run import Run
from benchmarks.gpu.table import make_table
from benchmarks.gpu.worker import Worker
from benchmarks.workload import Workload
from vit_hk.errors import UserError

# Packages of the project that a machine with a GPU may lack, and that pack.py does not pack.
LEFT_OUT = (
    "PIL", "dvc", "filelock", "llvmlite", "matplotlib", "orbax", "pandas", "seaborn", "torch",
    "torchvision", "tqdm",
)  # fmt: skip
TINY = {"patch_size": 14, "hidden_size": 8, "num_layers": 1, "mlp_dim": 8, "num_heads": 2}


def make_plan(*contenders, budget=60.0):
    cells = make_cells({"tiny": TINY}, {"tiny": {"train": 4, "infer": 4}}, {"tiny": contenders})
    return Plan(
        platform="cpu", checked={}, tests=(), test_seconds=0.0, cells=cells, max_epochs=1,
        rounds=3, round_seconds=0.001, max_step_seconds=60.0, budget=budget,
    )  # fmt: skip


@pytest.fixture
def in_a_folder_without_mnist(monkeypatch, tmp_path):
    monkeypatch.setattr(run_module, "DATASET", tmp_path / "dataset.npz")
    monkeypatch.setattr(run_module, "PACKED_DATASET", tmp_path / "mnist.npz")
    return tmp_path


def test_one_cell_end_to_end_where_other_packages_are_missing(
    project, monkeypatch, in_a_folder_without_mnist, tmp_path
):
    monkeypatch.chdir(project)
    stubs = tmp_path / "stubs"
    stubs.mkdir()
    for name in LEFT_OUT:
        (stubs / f"{name}.py").write_text("raise ImportError('left out')")
    monkeypatch.setenv("PYTHONPATH", str(stubs))
    path = in_a_folder_without_mnist / "results" / "gpu.json"
    plan = make_plan("ours", "timm")
    plan = dataclasses.replace(plan, cells=plan.cells[-1:])
    report = Run(plan, path).run()
    assert json.loads(path.read_text()) == report
    assert report["device"]["name"] == "cpu"
    assert report["limits"] is None
    assert report["training"]["time to 99 %"]["skipped"].startswith("no MNIST")
    (cell,) = report["cells"].values()
    assert cell["work"]["precision"] == "float32"
    assert len(cell["contenders"]["ours"]["milliseconds"]) == plan.rounds
    assert cell["contenders"]["ours"]["images_per_second"] > 0
    assert cell["contenders"]["timm"] == {"error": "ImportError: left out"}


class ScriptedContender:
    """A contender that takes a known time, fails, or uses up the time."""

    seconds: dict

    def __init__(self, name, _platform):
        self.name = name

    def start_preparing(self, work, _round_seconds):
        self.work = work

    def receive(self, _deadline):
        if self.name == "broken" and self.work.task == "train":
            raise ContenderError("RuntimeError: out of memory\nsecond line | of a table")
        return {"compile_seconds": 1.5, "parameters": 1000}

    def warm_up(self, _deadline):
        pass

    def measure(self, _deadline):
        if self.name == "broken" and self.work.precision == "float32":
            raise ContenderError("the process ended")
        return {"ours": 0.5, "peer": 2.0, "broken": 1.0}[self.name]

    def stop(self):
        self.name = "stopped"


@pytest.fixture
def scripted(monkeypatch, in_a_folder_without_mnist):
    device = {"name": "NVIDIA H100 80GB HBM3", "driver": "1.2", "platform": "cpu"}
    monkeypatch.setattr(run_module, "Contender", ScriptedContender)
    monkeypatch.setattr(Run, "run_module", lambda *_: device)
    monkeypatch.setattr(Run, "run_tests", lambda _: {
        "platform": "gpu", "passed": 3, "left_out": 1, "failed": ["test_a"], "is_complete": False,
    })  # fmt: skip
    return in_a_folder_without_mnist / "gpu.json"


def test_an_error_leaves_the_other_results(scripted):
    report = Run(make_plan("ours", "peer", "broken"), scripted).run()
    cells = report["cells"]
    assert list(cells) == [
        "tiny, training, bfloat16, batch 4", "tiny, inference, bfloat16, batch 4",
        "tiny, training, float32, batch 4", "tiny, inference, float32, batch 4",
    ]  # fmt: skip
    assert all(cell["contenders"]["ours"]["images_per_second"] == 8 for cell in cells.values())
    assert [cell["speedup"] for cell in cells.values()] == [4.0, 2.0, 4.0, 4.0]
    assert ["error" in cell["contenders"]["broken"] for cell in cells.values()] == [1, 0, 1, 1]
    table = make_table(report)
    rows = [line for line in table.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + 4 * 3
    assert {row.count("|") for row in rows} == {12}
    assert "| tiny | train | bfloat16 | 4 | peer | 2 | 2,000.00 | 4.00 | 0% | 0% | 1.5 s |" in rows
    assert "RuntimeError: out of memory second line" in table  # in one line
    assert "3 passed, 1 left out, 1 failed; for the others there was no time\n  - test_a" in table


def test_a_contender_that_is_not_ready_leaves_the_others_time(scripted, monkeypatch):
    deadlines = {"receive": [], "warm_up": [], "measure": []}

    class Late(ScriptedContender):
        def receive(self, deadline):
            deadlines["receive"].append(deadline)
            if self.name == "broken":
                raise ContenderError(TOO_SLOW)
            return super().receive(deadline)

        def warm_up(self, deadline):
            deadlines["warm_up"].append(deadline)

        def measure(self, deadline):
            deadlines["measure"].append(deadline)
            return super().measure(deadline)

    monkeypatch.setattr(run_module, "Contender", Late)
    plan = dataclasses.replace(make_plan("ours", "peer", "broken"), round_seconds=0.1)
    report = Run(plan, scripted).run()
    for cell in report["cells"].values():
        assert cell["speedup"] == 4.0
        assert cell["contenders"]["broken"] == {"error": TOO_SLOW}
    assert len(deadlines["warm_up"]) == 4 * 2
    least = plan.rounds * plan.round_seconds * 3
    assert min(deadlines["measure"]) - deadlines["receive"][0] > least


def test_tests_of_the_model_are_found_without_the_settings_of_all_tests(project):
    path = "tests/model/test_encoder.py"  # the one with a helper in another folder
    assert path in full_plan(1.0).tests
    listed = subprocess.run(
        [sys.executable, "-m", "pytest", *OPTIONS, "--collect-only", path],
        cwd=project, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert listed.returncode == 0, listed.stdout
    assert f"{path}::" in listed.stdout


def test_what_does_not_fit_into_the_time_is_skipped(scripted):
    report = Run(make_plan("ours", "peer", budget=0.0), scripted).run()
    assert all("skipped" in cell for cell in report["cells"].values())
    assert len(report["cells"]) == 4
    assert "the time of 0 s was used up" in make_table(report)
    assert json.loads(scripted.read_text()) == report


def test_a_cell_without_time_to_measure_is_skipped_and_starts_nothing(scripted):
    plan = make_plan("ours", "peer", budget=20.0)
    report = Run(dataclasses.replace(plan, round_seconds=1.0), scripted).run()  # 24 s in all
    assert all("skipped" in cell for cell in report["cells"].values())
    assert "the time of 20 s was used up" in make_table(report)


@pytest.mark.parametrize("device", [{"error": "no cuda"}, {"platform": "cpu", "name": "cpu"}])
def test_without_a_gpu_one_line_says_what_to_do(monkeypatch, tmp_path, one_line, device):
    monkeypatch.setattr(Run, "run_module", lambda *_: device)
    plan = dataclasses.replace(make_plan("ours"), platform="gpu")
    with pytest.raises(UserError) as caught:
        Run(plan, tmp_path / "gpu.json").run()
    assert "--platform cpu --quick" in one_line(caught.value)
    assert not (tmp_path / "gpu.json").exists()


def test_a_contender_that_dies_or_is_slow_is_reported_and_started_again(project, monkeypatch):
    monkeypatch.chdir(project)
    contender = Contender("no such contender", "cpu")
    contender.start_preparing(Workload("infer", 4, **TINY), 0.1)
    with pytest.raises(ContenderError, match="given up"):
        contender.receive(time.monotonic())
    assert TOO_SLOW.startswith("given up")
    contender.start_preparing(Workload("infer", 4, **TINY), 0.1)
    contender._process.kill()
    with pytest.raises(ContenderError, match="ended without an answer"):
        contender.receive(time.monotonic() + 60)
    contender.stop()


def test_all_packed_packages_have_a_pinned_version(project, monkeypatch):
    monkeypatch.chdir(project)
    assert set(pack.PACKAGES) <= set(pack.pinned_versions())
    assert not {"jax", "jaxlib", "numpy", "torch", "timm"} & set(pack.PACKAGES)


def test_ours_and_timm_have_the_same_parameters(project, monkeypatch):
    monkeypatch.chdir(project)
    work = {**TINY, "task": "infer", "batch_size": 4, "precision": "bfloat16", "num_classes": 7}
    counts = []
    for name in ("ours", "timm"):
        worker = Worker(name)
        counts.append(worker.answer([{**work, "channels": 3}, 0.001])["parameters"])
        assert worker.answer("warm_up") == {}
        assert worker.answer("measure")["seconds"] > 0
    assert counts[0] == counts[1]
    assert "error" in Worker("timm").answer([{**work, "num_heads": 3}, 0.001])
