"""`dvc exp`, `dvc metrics diff` and `dvc plots diff` on a reproduced project."""

import csv
import io
import json

import pytest
from project_clone import Clone


@pytest.fixture(scope="module")
def experiment(reproduced, tmp_path_factory) -> Clone:
    """Return a project after an experiment named wide, with a wider feed-forward layer."""
    clone = reproduced.copy(tmp_path_factory.mktemp("experiment") / "mein Projékt")
    # No more stages than the numbers need.
    printed = clone.run("dvc", "exp", "run", "evaluate", "--name", "wide", "-S", "model.mlp_dim=16")
    assert "Running stage 'download'" not in printed
    return clone


def experiment_table(clone: Clone) -> dict[str, dict[str, str]]:
    """Return the rows of dvc exp show by the name of the experiment or branch."""
    rows = csv.DictReader(io.StringIO(clone.run("dvc", "exp", "show", "--csv")))
    return {row["Experiment"] or row["rev"]: row for row in rows}


def test_table_shows_the_setting_and_both_accuracies(experiment):
    rows = experiment_table(experiment)
    assert rows["wide"]["model.mlp_dim"] == "16"
    assert rows["main"]["model.mlp_dim"] == "8"
    assert float(rows["wide"]["test.accuracy"]) > 0
    assert float(rows["main"]["test.accuracy"]) > 0


def test_metrics_and_plots_diff_compare_with_the_last_commit(experiment):
    diff = json.loads(experiment.run("dvc", "metrics", "diff", "--json", "HEAD"))
    loss = diff["results/metrics.json"]["test.loss"]
    assert loss["old"] != loss["new"]
    experiment.run("dvc", "plots", "diff", "HEAD", "--out", "compare")
    page = (experiment.folder / "compare" / "index.html").read_text("utf-8")
    for title in (
        "Loss", "Validation accuracy", "Confusion matrix of the test images", "F1 of each class",
    ):  # fmt: skip
        assert title in page
    images = [path.name for path in (experiment.folder / "compare" / "static").iterdir()]
    assert any("overview.png" in name for name in images)
    assert any("mistakes.png" in name for name in images)


def test_parallel_experiments_with_one_training_leave_the_workspace_unchanged(reproduced, tmp_path):
    # DVC 3.67's queue writes the path of the project as ASCII.
    queue = reproduced.copy(tmp_path / "my project")
    for name, setting in (("one", "num_images=1"), ("right", "num_wrong=0")):
        changes = ("-S", f"attention.{setting}", "-S", "train.epochs=2")
        queue.run("dvc", "exp", "run", "train", "--queue", "--name", name, *changes)
    queue.run("dvc", "exp", "run", "--run-all", "--jobs", "2")
    rows = experiment_table(queue)
    assert [rows[name]["State"] for name in ("one", "right")] == ["Success", "Success"]
    assert rows["one"]["attention.num_images"] == "1"
    assert rows["right"]["attention.num_wrong"] == "0"
    assert queue.run("git", "status", "--porcelain") == ""
