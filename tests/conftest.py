import copy
import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import chromium, open_file  # noqa: F401
from project_clone import Clone, copy_project
from settings_file import AUGMENTATION_OFF

from vit_hk.dataset import Dataset

# Compiling takes most of the suite's time. `make chaos`, `make reproducible` and .ci/run
# compile as users do.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
# On any machine; the tests know what a batch that is divided among two devices comes to.
os.environ["JAX_NUM_CPU_DEVICES"] = "2"

# Written out instead of read from params.yaml, so that trying other settings breaks no test.
# The sizes fit the images of `tiny_dataset`; what takes long to compile is off.
SETTINGS: dict[str, Any] = {
    "seed": 3,
    "data": {"name": "mnist", "root": "data/raw", "offline": "sample"},
    "model": {
        "patch_size": 4,
        "stem": "linear",
        "hidden_size": 8,
        "num_layers": 2,
        "num_heads": 2,
        "mlp_dim": 6,
        "pool": "gap",
        "position": "sincos2d",
        "dropout": 0.0,
        "drop_path": 0.0,
        "qk_norm": False,
        "registers": 2,
    },
    "train": {
        "epochs": 2,
        "batch_size": 10,
        "optimizer": "adamw",
        "learning_rate": 0.01,
        "warmup_epochs": 0.5,
        "weight_decay": 0.05,
        "label_smoothing": 0.0,
        "grad_clip": 1.0,
        "sam_rho": 0.0,
        "ema_decay": 0.0,
        "validation_fraction": 0.25,
        "augment": AUGMENTATION_OFF,
        "snapshot_epochs": [1, 2, 50],
        "checkpoint_steps": 0,
        "precision": "float32",
        "scan_layers": False,
        "remat": False,
        "platform": "cpu",
    },
    "evaluate": {"batch_size": 7, "faithfulness_share": 0.2},
    "attention": {
        "num_images": 3,
        "num_wrong": 1,
        "images": [],
        "head_fusion": "max",
        "discard_ratio": 0.1,
    },
}


@pytest.fixture(scope="session")
def project() -> Path:
    """The folder of the repository."""
    return Path(__file__).parents[1]


@pytest.fixture(scope="session")
def settings_of_tests() -> dict[str, Any]:
    """Valid settings with enough epochs to learn `tiny_dataset`. Do not change them."""
    return {**SETTINGS, "train": {**SETTINGS["train"], "epochs": 40}}


@pytest.fixture
def tree() -> dict[str, Any]:
    """A valid tree of settings, free to be changed."""
    return copy.deepcopy(SETTINGS)


@pytest.fixture(scope="session")
def tiny_dataset() -> Dataset:
    """Three classes of 8 x 12 pixels in two channels; each brightens another third."""
    random = np.random.default_rng(0)

    def split(labels: np.ndarray) -> np.ndarray:
        images = random.integers(0, 60, (len(labels), 8, 12, 2), dtype=np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[:, 4 * label : 4 * label + 4] += 150
        return images

    y_train = np.arange(48, dtype=np.int32) % 3
    # The three mislabelled ones at the end keep the test set from being learned in full.
    y_test = np.array([0, 1, 2] * 5 + [0, 0, 1], np.int32)
    shown = np.array([0, 1, 2] * 5 + [1, 2, 2])
    return Dataset(
        split(y_train), y_train, split(shown), y_test,
        "mnist", "made for a test", ("left", "middle", "right"),
    )  # fmt: skip


@pytest.fixture
def one_line() -> Callable[[Exception], str]:
    """The text of an error, after a check that it is one line."""

    def check(error: Exception) -> str:
        text = str(error)
        assert text.strip()
        assert len(text.splitlines()) == 1, text
        return text

    return check


@pytest.fixture(scope="session")
def shared(tmp_path_factory) -> Callable[[str, Callable[[Path], None]], Path]:
    """Make a folder once for all test processes that run beside each other."""
    parallel = "PYTEST_XDIST_WORKER" in os.environ
    base = tmp_path_factory.getbasetemp()
    base = base.parent if parallel else base

    def once(name: str, make: Callable[[Path], None]) -> Path:
        folder, done = base / name, base / f"{name}.done"
        with (base / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # the first makes it, the others wait
            if not done.exists():
                make(folder)
                done.touch()
        return folder

    return once


# The smallest pipeline: real digits, hardly a model.
TINY = {
    "model__patch_size": 14, "model__hidden_size": 8, "model__num_layers": 1,
    "model__num_heads": 2, "model__mlp_dim": 8,
    "train__epochs": 1, "train__warmup_epochs": 0.0,
    "train__platform": "cpu", "evaluate__faithfulness_share": 0.02,
    "attention__num_images": 2, "attention__num_wrong": 1,
}  # fmt: skip


@pytest.fixture(scope="session")
def reproduced(shared) -> Clone:
    """A clone after its first dvc repro, with all committed. Do not change it."""

    def make(folder: Path) -> None:
        clone = copy_project(folder)
        clone.set(**TINY)
        # As in the Makefile.
        clone.run("python", "-m", "vit_hk.plots_page")
        clone.run("dvc", "config", "--local", "plots.html_template", "plots_page.html")
        stages = ["download", "train", "evaluate", "attention", "report"]
        assert clone.repro() == stages
        clone.run("git", "add", "--all")
        clone.run("git", "commit", "--quiet", "--message=first run")

    # A path with a space and letters outside ASCII, as people have.
    return Clone(shared("mein Projékt", make))


@pytest.fixture
def clone(reproduced, tmp_path) -> Clone:
    """A copy of the reproduced clone, free to be changed."""
    folder = tmp_path / "mein Projékt"
    shutil.copytree(reproduced.folder, folder, symlinks=True)
    return Clone(folder)
