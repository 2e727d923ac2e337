"""`dvc exp`, `dvc metrics diff` and `dvc plots diff` on a reproduced project."""

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


def test_table_shows_the_setting_and_both_accuracies(experiment):
    rows = experiment.experiments()
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
