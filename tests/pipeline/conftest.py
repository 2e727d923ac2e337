"""A clone of the project with tiny settings, in which dvc runs for real."""

import shutil

import pytest
from project_clone import Clone, copy_project

TINY = {
    "model__patch_size": 14, "model__hidden_size": 8, "model__num_layers": 1,
    "model__num_heads": 2, "model__mlp_dim": 8,
    "train__epochs": 1, "train__min_steps": 0, "train__warmup_epochs": 0.0,
    "train__platform": "cpu", "evaluate__faithfulness_share": 0.02,
    "attention__num_images": 2, "attention__num_wrong": 1,
}  # fmt: skip


@pytest.fixture(scope="session")
def reproduced(tmp_path_factory) -> Clone:
    """A clone after its first dvc repro, with all committed. Do not change it."""
    # A path with a space and letters outside ASCII, as people have.
    folder = tmp_path_factory.mktemp("pipeline") / "mein Projékt"
    clone = copy_project(folder)
    clone.set(**TINY)
    # As in the Makefile.
    clone.run("python", "-m", "vit_hk.plots_page")
    clone.run("dvc", "config", "--local", "plots.html_template", "plots_page.html")
    assert clone.repro() == ["download", "train", "evaluate", "attention", "report"]
    clone.run("git", "add", "--all")
    clone.run("git", "commit", "--quiet", "--message=first run")
    return clone


@pytest.fixture
def clone(reproduced, tmp_path) -> Clone:
    """A copy of the reproduced clone, free to be changed."""
    folder = tmp_path / "mein Projékt"
    shutil.copytree(reproduced.folder, folder, symlinks=True)
    return Clone(folder)
