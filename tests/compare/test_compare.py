"""python -m vit_hk compare in a real repository of Git and DVC."""

import html
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from project_clone import Clone

from stages import paths
from vit_hk.compare import sources
from vit_hk.compare.run import _read_numbers
from vit_hk.compare.sources import find_files
from vit_hk.errors import UserError

ATTENTION = "results/attention/attention.npz"


@pytest.fixture
def compare(run_command) -> Callable[..., str]:
    """Return a function that runs the command in a clone, and returns what it printed."""

    def run(clone: Clone, *arguments: str, expect: int = 0) -> str:
        return run_command("compare", clone.folder, *arguments, expect=expect)

    return run


def content(folder: Path) -> dict[str, bytes]:
    """Return all files of a folder, without DVC's own and those of Git."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    kept = [path for path in files if not {".git", "tmp"} & set(path.relative_to(folder).parts)]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in kept}


def text_of(page: str) -> str:
    """Return the text of a page, without its tags, scripts and styles."""
    page = re.sub(r"<(script|style).*?</\1>", " ", page, flags=re.DOTALL)
    return html.unescape(" ".join(re.sub(r"<[^>]+>", " ", page).split()))


def runs_data(page: str) -> list[dict]:
    return json.loads(re.search(r'id="runs-data">(.*?)</script>', page, re.DOTALL)[1])


def test_revision_and_experiment_are_compared_and_nothing_else_changes(project_of_runs, tmp_path):
    # As a program, since this is what a person starts.
    clone = project_of_runs
    before = content(clone.folder)
    page = tmp_path / "page.html"
    command = [sys.executable, "-m", "vit_hk", "compare", "HEAD", "deeper", "-o", str(page)]
    environment = clone.environment | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        command, cwd=clone.folder, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{page}: {page.stat().st_size:,} bytes\n"
    assert done.stderr == ""
    assert content(clone.folder) == before
    assert clone.run("git", "status", "--porcelain") == ""
    text = text_of(page.read_text("utf-8"))
    # Of 60 images, every fifth is wrong in A, every tenth in B; a tenth one is wrong in both.
    assert "same 60 test images: 48 correctly in both, 6 wrongly in both" in text
    assert "0 correctly in A only and 6 correctly in B only" in text
    assert "6 to" not in text
    assert "uneven as 0 to 6, or more so, would come about in 3.1 % of cases" in text  # 2 / 2**6
    assert "Settings that differ setting A B model.num_layers 2 3" in text
    assert "A classifies 80.00 % of its test images correctly, B 90.00 %" in text
    assert "B is 10.00 percentage points better, which is more than noise" in text
    assert "Training time 90.2 s 1,234.5 s with validation, without compilation" in text
    assert "Evaluation speed" not in text  # measured in neither run


def test_page_has_the_same_bytes_each_time_and_both_models(project_of_runs, compare, tmp_path):
    pages = [tmp_path / "1.html", tmp_path / "2.html"]
    for page in pages:
        compare(project_of_runs, "HEAD", "deeper", "-o", str(page))
    first, second = (page.read_bytes() for page in pages)
    assert first == second
    assert len(first) < 5_000_000
    a, b = runs_data(first.decode())
    assert [run["explorer"]["layers"] for run in (a, b)] == [2, 3]
    indices = [[image["index"] for image in run["explorer"]["images"]] for run in (a, b)]
    assert indices[0] == indices[1]
    assert sorted(indices[0]) == list(range(60))
    assert sorted(indices[0][:6]) == [5, 15, 25, 35, 45, 55]  # the disagreements come first
    # Each run's own prediction and attention of the same image.
    table = pd.read_csv(project_of_runs.folder / "results/predictions.csv")
    for image in a["explorer"]["images"]:
        assert (
            a["explorer"]["class_names"][image["predicted"]] == table["predicted"][image["index"]]
        )


def test_a_long_list_of_disagreements_says_how_many_it_leaves_out(
    project_of_runs, compare, tmp_path, monkeypatch
):
    page = tmp_path / "page.html"
    for listed, expected in ((5, "Left out: 1 image with"), (2, "Left out: 4 images with")):
        monkeypatch.setattr("vit_hk.compare.disagreements.MAX_LISTED", listed)
        compare(project_of_runs, "HEAD", "deeper", "-o", str(page))
        text = page.read_text("utf-8")
        assert text.split("<script")[0].count("data-index=") == listed
        assert f"{expected} a lower probability of the mistake" in text_of(text)


def test_explorers_with_the_model_store_no_attention_of_single_tokens(
    project_of_runs, compare, tmp_path
):
    page = tmp_path / "page.html"
    compare(project_of_runs, "HEAD", "deeper", "-o", str(page))
    for run in runs_data(page.read_text("utf-8")):
        assert run["model"]
        assert {image["token_attention"] for image in run["explorer"]["images"]} == {""}
        assert any(image["pooled_attention"] for image in run["explorer"]["images"])


def test_models_without_room_leave_the_stored_attention(
    project_of_runs, compare, tmp_path, monkeypatch
):
    page = tmp_path / "page.html"
    compare(project_of_runs, "HEAD", "deeper", "-o", str(page))
    monkeypatch.setattr("vit_hk.compare.page.MAX_BYTES", page.stat().st_size - 1)
    compare(project_of_runs, "HEAD", "deeper", "-o", str(page))
    text = page.read_text("utf-8")
    runs = runs_data(text)
    assert [run["model"] for run in runs] == [None, None]
    for run in runs:
        images = run["explorer"]["images"]
        assert [image["index"] for image in images] == [0, 1, 2, 3]
        assert all(image["pooled_attention"] for image in images)
    assert "both models are too large for this page" in text
    assert any(image["token_attention"] for image in runs[0]["explorer"]["images"])
    assert "single patches and registers is left out" not in text
    assert "data-index" not in text.split("<script")[0]  # no link to an image that is left out
    # Still too large: the attention of single tokens goes next, and that of the class token stays.
    monkeypatch.setattr("vit_hk.compare.page.MAX_BYTES", page.stat().st_size - 1)
    compare(project_of_runs, "HEAD", "deeper", "-o", str(page))
    text = page.read_text("utf-8")
    for run in runs_data(text):
        images = run["explorer"]["images"]
        assert [image["index"] for image in images] == [0, 1, 2, 3]
        assert {image["token_attention"] for image in images} == {""}
        assert all(image["pooled_attention"] for image in images)
    assert "single patches and registers is left out" in text
    monkeypatch.setattr("vit_hk.compare.page.MAX_BYTES", 1000)
    compare(project_of_runs, "HEAD", "deeper", "-o", str(page))
    assert "cannot be shown: the page would have more than 5 MB." in text_of(
        page.read_text("utf-8")
    )


def test_a_folder_is_a_run_too(project_of_runs, compare, tmp_path):
    compare(project_of_runs, ".", str(project_of_runs.folder), "-o", str(tmp_path / "page.html"))
    text = text_of((tmp_path / "page.html").read_text("utf-8"))
    assert "No setting differs" in text
    assert "There is no difference." in text
    assert "A is a folder, B is a folder" in text


def test_what_the_cache_lacks_is_named_with_the_command_that_brings_it(runs, compare):
    md5 = re.search(
        rf"path: {ATTENTION}\n.*?md5: (\w+)", runs.run("git", "show", "main:dvc.lock"), re.DOTALL
    )[1]
    cached = runs.folder / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
    cached.unlink()
    printed = compare(runs, "HEAD", "deeper")
    expected = f"HEAD lacks {ATTENTION}. `dvc fetch --all-commits` brings it from a remote"
    assert printed.startswith(f"note: {expected}")
    text = text_of((runs.folder / "compare.html").read_text("utf-8"))
    assert f"{ATTENTION} (not in DVC's cache)" in text
    assert "cannot be shown" in text
    assert "correctly in B only" in text  # all that is in Git is compared
    assert "Curves" in text
    assert (runs.folder / "compare.html").read_text("utf-8").count("data:image/png") == 6


def test_of_an_experiment_the_command_names_the_experiment(runs, monkeypatch):
    for path in (runs.folder / ".dvc/cache").rglob("*"):
        if path.is_file():
            path.unlink()
    (runs.folder / "scratch").mkdir()
    monkeypatch.chdir(runs.folder)
    files = find_files("deeper", runs.folder / "scratch")
    assert {str(path) for path in files.missing} >= {"results/history.csv", ATTENTION}
    assert "`dvc exp pull origin deeper`" in files.remedy


def test_file_that_dvc_lock_does_not_record_is_missing(runs, monkeypatch):
    # As where dvc.yaml has a new output, and only other stages ran since then.
    lock = yaml.safe_load(runs.read("dvc.lock"))
    outputs = lock["stages"]["all"]["outs"]
    lock["stages"]["all"]["outs"] = [out for out in outputs if out["path"] != ATTENTION]
    (runs.folder / "dvc.lock").write_text(yaml.safe_dump(lock), "utf-8")
    runs.run("git", "commit", "--quiet", "--all", "--message=less")
    (runs.folder / "scratch").mkdir()
    monkeypatch.chdir(runs.folder)
    files = find_files("HEAD", runs.folder / "scratch")
    assert files.missing[Path(ATTENTION)] == "not recorded in its dvc.lock"


def test_attention_of_other_weights_is_not_explored(runs, compare):
    # As where only `evaluate` ran again after a training.
    path = runs.folder / "results/predictions.csv"
    table = pd.read_csv(path)
    table["probability"] /= 2
    table.to_csv(path, index=False)
    compare(runs, "HEAD", ".")
    page = (runs.folder / "compare.html").read_text("utf-8")
    assert "attention.npz is not of the weights of results/predictions.csv" in text_of(page)
    assert "runs-data" not in page


def test_values_that_are_written_differently_are_the_same_setting(runs, compare):
    other = runs.folder.with_name(os.fsdecode(b"other\xe9"))  # no UTF-8, as a page is
    shutil.copytree(runs.folder, other, ignore=shutil.ignore_patterns(".git", ".dvc"))
    settings = (other / "params.yaml").read_text("utf-8")
    assert "norm_eps: 1.0e-06" in settings
    changed = settings.replace("norm_eps: 1.0e-06", "norm_eps: 0.000001")
    (other / "params.yaml").write_text(changed.replace("grad_clip: 1.0", "grad_clip: 1"), "utf-8")
    compare(runs, ".", str(other))
    text = text_of((runs.folder / "compare.html").read_text("utf-8"))
    assert "No setting differs" in text
    assert r"other\xe9" in text
    (other / "models/vit.safetensors").unlink()
    compare(runs, ".", str(other))
    page = (runs.folder / "compare.html").read_text("utf-8")
    assert "`dvc repro` makes what is missing" in text_of(page)


def test_an_empty_name_is_no_run(runs, compare):
    assert "the name of a run is empty" in compare(runs, "HEAD", "", expect=1)


def test_other_test_images_are_said_and_not_paired(runs, compare, run_settings, write_other_run):
    write_other_run(runs.folder, run_settings, class_names=("one", "two"), num_test=40)
    compare(runs, "HEAD", ".")
    page = (runs.folder / "compare.html").read_text("utf-8")
    assert "The runs have different test images" in text_of(page)
    assert "McNemar" not in page
    assert "runs-data" not in page
    # As of two independent sets of images: 80 % of 60, and 80 % of 40.
    error = np.sqrt(0.8 * 0.2 / 60 + 0.8 * 0.2 / 40)
    assert f"{error:.4f}" in text_of(page)


def test_test_images_with_other_pixels_are_not_paired(runs, compare):
    # As where some files of a folder were replaced, as many in each class.
    path = runs.folder / "data/dataset.npz"
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    path.unlink()  # it may be a link into DVC's cache
    np.savez(path, **{**arrays, "x_test": 255 - arrays["x_test"]})
    compare(runs, "HEAD", ".")
    page = (runs.folder / "compare.html").read_text("utf-8")
    assert "The runs have different test images" in text_of(page)
    assert "McNemar" not in page


def test_mean_over_other_corruptions_is_no_row(runs, compare):
    path = runs.folder / "results/metrics.json"
    metrics = json.loads(path.read_text("utf-8"))
    _, first, *others = metrics["corruptions"]
    assert others
    for mean_is_shown in (True, False):
        compare(runs, "HEAD", ".", "-o", f"{mean_is_shown}.html")
        page = (runs.folder / f"{mean_is_shown}.html").read_text("utf-8")
        assert ("corruptions.mean" in page) == mean_is_shown
        assert f"corruptions.{others[0]}" in page
        del metrics["corruptions"][first]
        path.write_text(json.dumps(metrics), "utf-8")
        first = others[-1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("HEAD", "nosuch"), "nosuch is no folder with results/metrics.json, and no Git revision"),
        (("HEAD", "x" * 5000), "x" * 97 + "... is no folder with results/metrics"),
        (("HEAD", "results"), "results is no folder with results/metrics.json"),
        (("HEAD", "deeper", "-o", "params.yaml"), "params.yaml is there already and is no page"),
        (("HEAD", "deeper", "-o", "results"), "results is a folder; name a file"),
        (("HEAD",), "the following arguments are required: B"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(project_of_runs, compare, arguments, message):
    before = content(project_of_runs.folder)
    printed = compare(project_of_runs, *arguments, expect=1)
    assert printed.startswith(f"error: {message}")
    assert printed.count("\n") == 1
    assert content(project_of_runs.folder) == before


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("results/metrics.json", "[]", "results/metrics.json is no table of metrics"),
        ("results/metrics.json", "{", "results/metrics.json is damaged"),
        ("results/metrics.json", "[" * 100_000, "results/metrics.json is damaged"),
        ("results/metrics.json", '{"a":' * 100_000, "results/metrics.json is damaged"),
        ("results/metrics.json", '{"a": 1' + "0" * 400 + "}", "results/metrics.json is damaged"),
        ("results/metrics.json", '{"a": 1' + "0" * 5000 + "}", "results/metrics.json is damaged"),
        ("results/predictions.csv", "index\n1\n", "results/predictions.csv is damaged (no column"),
        ("params.yaml", "a: [", "params.yaml is not valid YAML"),
        ("params.yaml", "a: 2024-13-45", "params.yaml is not valid YAML"),
        ("params.yaml", "1: x", "params.yaml is not valid YAML"),
        ("params.yaml", "a: &a {b: *a}", "params.yaml is not valid YAML"),
        ("params.yaml", "- 1", "params.yaml holds no settings"),
        ("results/history.csv", "epoch\n", "results/history.csv is damaged"),
    ],
)  # fmt: skip
def test_a_damaged_file_of_a_run_is_named(
    project_of_runs, compare, tmp_path, name, content, message
):
    other = tmp_path / "other"
    shutil.copytree(project_of_runs.folder, other, ignore=shutil.ignore_patterns(".*"))
    (other / name).unlink()
    (other / name).write_text(content, "utf-8")
    printed = compare(project_of_runs, "HEAD", str(other), expect=1)
    assert printed.startswith(f"error: {other}: {message}")
    assert printed.count("\n") == 1


def test_a_metric_that_has_no_standard_error_is_named(project_of_runs, compare, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(project_of_runs.folder, other, ignore=shutil.ignore_patterns(".*"))
    metrics = json.loads((other / "results/metrics.json").read_text("utf-8"))
    metrics["validation"]["examples"] = 0
    (other / "results/metrics.json").write_text(json.dumps(metrics), "utf-8")
    printed = compare(project_of_runs, "HEAD", str(other), expect=1)
    problem = "validation.examples is 0; allowed: 1 or more"
    assert printed.startswith(f"error: {other}: results/metrics.json is damaged ({problem}); make")
    assert printed.count("\n") == 1


@pytest.mark.parametrize(
    ("metric", "value", "allowed"),
    [("examples", value, "1 or more") for value in (0, -5, 0.0, 1e-320)]
    + [("accuracy", value, "0 to 1") for value in (1.2, -0.1, 10**100)],
)
def test_numbers_that_no_metric_can_have_are_refused(tmp_path, metric, value, allowed):
    path = tmp_path / "metrics.json"
    path.touch()
    for split in ("test", "validation"):
        problem = rf"{split}\.{metric} is {re.escape(str(value))}; allowed: {allowed}"
        with pytest.raises(UserError, match=problem):
            _read_numbers(path, {split: {metric: value}})


def test_half_a_character_in_the_name_of_a_data_set_is_shown_escaped(runs, compare):
    path = runs.folder / "results/metrics.json"
    metrics = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps(metrics | {"data": "half \ud800"}), "utf-8")
    compare(runs, "HEAD", ".")
    assert r"half \ud800 (" in text_of((runs.folder / "compare.html").read_text("utf-8"))


def test_faithfulness_and_corruptions_have_the_errors_of_both_tables(runs, compare):
    path = runs.folder / "results/faithfulness.csv"
    table = pd.read_csv(path)
    table["score_error"] = table["method"].map({"rollout": 0.03}).fillna(0.0)
    table.to_csv(path, index=False)
    runs.run("git", "commit", "--quiet", "--all", "--message=errors")
    metrics = json.loads(runs.read("results/metrics.json"))
    metrics["faithfulness"]["rollout"] += 0.08  # within 1.96 * 0.03 * 2**0.5
    metrics["corruptions"]["impulse_noise"] += 0.08  # not within 1.96 * 0.015 * 2**0.5
    (runs.folder / "results/metrics.json").write_text(json.dumps(metrics), "utf-8")
    compare(runs, "HEAD", ".")
    text = text_of((runs.folder / "compare.html").read_text("utf-8"))
    assert "faithfulness.rollout 0.4784 0.5584 +0.0800 0.0424 could be noise" in text
    assert "corruptions.impulse_noise 0.6000 0.6800 +0.0800 0.0212 more than noise" in text
    assert "faithfulness.relevance 0.2142 0.2142 0 — no difference" in text
    table["score_error"] = 1e200  # its square is too large
    table.to_csv(path, index=False)
    compare(runs, "HEAD", ".")


def test_outside_of_a_repository_only_folders_are_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="no folder with"):
        find_files("HEAD", tmp_path)


def test_files_of_a_run_are_those_that_the_stages_write():
    written = {path for path in vars(paths).values() if isinstance(path, Path)}
    assert {*sources.REQUIRED, *sources.OPTIONAL} - {sources.PARAMS} <= written
