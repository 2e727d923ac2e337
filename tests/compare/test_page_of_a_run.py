"""python -m vit_hk page in a real repository of Git and DVC."""

import functools
import html
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from project_clone import Clone

from vit_hk.compare.origin import find_origin
from vit_hk.compare.sources import REPORT, WEIGHTS, find_files
from vit_hk.weights_metadata import weights_digest

PAGE = "results/report.html"


@pytest.fixture
def write(run_command) -> Callable[..., str]:
    """Return a function that runs the command in a folder, and returns what it printed."""
    return functools.partial(run_command, "page")


@pytest.fixture
def read(write, tmp_path) -> Callable[..., str]:
    """Return a function that writes the page of a run and returns its text, with the title."""

    def run(folder: Path, *arguments: str) -> str:
        page = tmp_path / "page.html"
        printed = write(folder, *arguments, "-o", str(page))
        assert printed == f"{page}: {page.stat().st_size:,} bytes\n"
        text = re.sub(r"<(?!title)[^>]+>", " ", page.read_text("utf-8"))
        return html.unescape(" ".join(text.split()))

    return run


def commit_of(clone: Clone, revision: str) -> str:
    return clone.run("git", "rev-parse", "--short=7", revision).strip()


def test_the_page_of_a_folder_names_branch_commit_and_times(project_of_runs, read):
    commit = commit_of(project_of_runs, "HEAD")
    text = read(project_of_runs.folder)
    assert text.startswith(f"<title>main {commit}: 80 %")
    assert f"Run main , commit {commit} ." in text
    assert "Training time 90.2 s with validation, without compilation" in text
    assert "Training speed 15,450 images/s of the training steps alone" in text
    assert "Not measured with these weights: evaluation speed." in text
    assert project_of_runs.run("git", "status", "--porcelain") == ""


def test_the_page_of_an_experiment_has_its_own_commit_and_times(project_of_runs, read):
    listed = project_of_runs.run("dvc", "exp", "list", "--all", "--sha-only").split()
    text = read(project_of_runs.folder, "deeper")
    assert f"Run deeper , commit {listed[-1][:7]} ." in text
    assert "Training time 1,234.5 s" in text


def test_results_of_an_experiment_in_the_folder_are_recognized(runs, read, monkeypatch, tmp_path):
    monkeypatch.chdir(runs.folder)
    deeper = find_files("deeper", tmp_path / "scratch", required=[REPORT, WEIGHTS], optional=[])
    for file in (REPORT, WEIGHTS):
        (runs.folder / file).unlink()
        (runs.folder / file).write_bytes((deeper.folder / file).read_bytes())
    assert f"Run deeper , commit {deeper.commit[:7]} ." in read(runs.folder)


def test_results_that_are_in_no_commit_are_said_and_have_no_times_of_other_weights(runs, read):
    page = (runs.folder / PAGE).read_text("utf-8")
    (runs.folder / PAGE).unlink()
    (runs.folder / WEIGHTS).unlink()
    (runs.folder / WEIGHTS).write_bytes(b"others")
    others = weights_digest(runs.folder / WEIGHTS)
    changed = re.sub(r'content="[0-9a-f]{12}"', f'content="{others}"', page)
    (runs.folder / PAGE).write_text(changed, "utf-8")
    text = read(runs.folder)
    assert text.startswith("<title>main (not committed): 80 %")
    last = f"the last commit before it is {commit_of(runs, 'HEAD')} ."
    assert f"Run main , not committed ; {last}" in text
    assert "weights: training time, training speed, evaluation speed." in text
    assert "90.2 s" not in text


def test_a_page_about_other_weights_than_those_of_its_run_is_refused(runs, write):
    # As where only `evaluate` ran again after a training.
    page = (runs.folder / PAGE).read_text("utf-8")
    (runs.folder / PAGE).unlink()
    changed = re.sub(r'content="[0-9a-f]{12}"', 'content="0123456789ab"', page)
    (runs.folder / PAGE).write_text(changed, "utf-8")
    printed = write(runs.folder, expect=1)
    assert "results/report.html is about other weights than models/vit.safetensors" in printed
    assert printed.count("\n") == 1


def test_a_folder_outside_of_git_has_its_own_name(project_of_runs, read, tmp_path):
    folder = tmp_path / "<b> copy"
    shutil.copytree(project_of_runs.folder, folder, ignore=shutil.ignore_patterns(".*"))
    text = read(folder)
    assert "Run <b> copy , of no commit that is known." in text
    assert "Training time 90.2 s" in text


def test_without_a_branch_the_commit_stands_for_it(runs, monkeypatch):
    commit = commit_of(runs, "HEAD")
    runs.run("git", "checkout", "--quiet", "--detach")
    monkeypatch.chdir(runs.folder)
    origin = find_origin(find_files(".", runs.folder, required=[REPORT], optional=[]))
    assert (origin.name, origin.short_commit, origin.is_committed) == (commit, commit, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nosuch",), "nosuch is no folder with results/metrics.json, and no Git revision"),
        (("-o", "params.yaml"), "params.yaml is there already and is no page of this command"),
        (("-o", "."), ". is a folder; name a file, for example page.html"),
        (("-o", "/"), "/ is a folder; name a file, for example /page.html"),
        (("-o", "results"), "results is a folder; name a file"),
    ],
)
def test_a_mistake_is_one_line(project_of_runs, write, arguments, message):
    printed = write(project_of_runs.folder, *arguments, expect=1)
    assert printed.startswith(f"error: {message}")
    assert printed.count("\n") == 1


@pytest.mark.parametrize("content", [None, "<title>another page</title>", b"\xff"])
def test_a_page_that_is_missing_or_another_one_is_named(runs, write, content):
    (runs.folder / PAGE).unlink()
    if content is not None:
        data = content if isinstance(content, bytes) else content.encode()
        (runs.folder / PAGE).write_bytes(data)
    printed = write(runs.folder, expect=1)
    assert printed.startswith("error: .")
    assert PAGE in printed
    assert "dvc repro" in printed
    assert printed.count("\n") == 1
    assert not (runs.folder / "page.html").exists()
