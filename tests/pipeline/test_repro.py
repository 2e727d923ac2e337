"""Real runs of `dvc repro` with a tiny model."""

import json

import numpy as np
import pandas as pd
import pytest
import yaml
from project_clone import check_same, outputs

FILES = (
    "data/dataset.npz", "models/vit.safetensors", "results/history.csv", "results/snapshots.npz",
    "results/metrics.json", "results/per_class.csv", "results/predictions.csv",
    "results/faithfulness.csv", "results/corruptions.csv", "results/timing.json",
    "results/attention/attention.npz",
    "results/attention/class_maps.png", "results/attention/overview.png",
    "results/attention/images/01.png", "results/attention/images/02.png",
    "results/figures/confusion.png", "results/figures/corruptions.png",
    "results/figures/curves.png",
    "results/figures/faithfulness.png", "results/figures/mistakes.png",
    "results/figures/per_class.png", "results/figures/snapshots.png",
    "results/figures/snapshots/1.png", "results/report.html", "dvc.lock",
)  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_first_run_writes_file(reproduced, name):
    assert (reproduced.folder / name).stat().st_size > 0


def test_tables_of_numbers_are_in_git_and_large_files_are_not(reproduced):
    tracked = reproduced.run("git", "ls-files").splitlines()
    for name in (
        "metrics.json", "per_class.csv", "predictions.csv", "faithfulness.csv", "corruptions.csv",
        "timing.json",
    ):  # fmt: skip
        assert f"results/{name}" in tracked
    assert "results/report.html" not in tracked
    assert not [name for name in tracked if name.endswith((".npz", ".safetensors", ".png", ".gz"))]


def test_metrics_and_report_name_the_offline_sample(reproduced):
    metrics = json.loads(reproduced.read("results/metrics.json"))
    assert "sample" in metrics["source"]
    assert metrics["test"]["examples"] == 1000
    assert "<strong>Not full MNIST.</strong>" in reproduced.read("results/report.html").decode()


def test_predictions_hold_each_test_image_once(reproduced):
    table = pd.read_csv(reproduced.folder / "results/predictions.csv")
    metrics = json.loads(reproduced.read("results/metrics.json"))
    assert table["index"].tolist() == list(range(1000))
    assert (table["actual"] != table["predicted"]).sum() == metrics["test"]["error_count"]
    labels = np.load(reproduced.folder / "data/dataset.npz")["y_test"]
    assert (table["actual"] == labels).all()


def test_unchanged_project_runs_no_stage(clone):
    assert clone.repro() == []
    assert clone.run("git", "status", "--porcelain") == ""


def test_forced_run_at_another_path_gives_the_same_bytes(reproduced, clone):
    # Bytes of evaluate and report are compared in tests/stages, those of train and download in
    # tests/faults and tests/dvc.
    assert clone.repro("--force", "--single-item", "attention") == ["attention"]
    check_same(outputs(reproduced.folder), outputs(clone.folder))


def test_attention_settings_do_not_train(clone):
    clone.set(attention__num_images=3)
    assert clone.repro("train") == ["check"]


def test_train_settings_do_not_download_and_old_results_come_from_the_cache(clone):
    before = clone.read("models/vit.safetensors")
    old = yaml.safe_load(clone.read("params.yaml"))["train"]["learning_rate"]
    clone.set(train__learning_rate=2 * old)
    assert clone.repro("train") == ["check", "train"]
    assert clone.read("models/vit.safetensors") != before
    clone.set(train__learning_rate=old)
    assert clone.repro("train") == []
    assert clone.read("models/vit.safetensors") == before
