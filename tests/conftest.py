import copy
import fcntl
import gc
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import chromium, open_clean, open_file  # noqa: F401
from project_clone import Clone, copy_project
from settings_file import AS_THEY_ARE, AUGMENTATION_OFF

from vit_hk.data.dataset import Dataset

# Compilation takes most of the suite's time. `make chaos`, `make reproducible` and .ci/run
# compile with all optimizations, as users do.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
# XLA's older code generator compiles in half of the time, and one module in less than several.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1",
)
# All processes of the suite share compiled code. The first one creates the folder, the others
# inherit its name; stages would otherwise write into the project's own, and JAX visits all entries
# of a folder with a maximum size before it writes one more.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    _compiled = tempfile.TemporaryDirectory(prefix="compiled-")  # removed when this process ends
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _compiled.name
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
# Nobody reads from which line of Python an operation comes; finding it out takes time.
os.environ["JAX_TRACEBACK_IN_LOCATIONS_LIMIT"] = "0"
# The same number on any machine, so that expected layouts and losses can be written down.
os.environ["JAX_NUM_CPU_DEVICES"] = "2"

import jax  # it reads these variables when it is imported

# Garbage collection takes a fifth of the tests' time if it visits all modules that they import.
gc.disable()


# What takes long comes first, so that the processes end at the same time. All tests of the pipeline
# wait until one of them has run it, and so do those of the stages: one process begins with each.
FIRST = (
    "faults/test_kills.py", "stages/test_attention_stage.py", "stages/test_several_processes.py",
    "faults", "training", "pipeline", "stages", "dvc",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort tests by the order of FIRST; the files of tests/ itself come last."""
    here = Path(__file__).parent

    def place(item: pytest.Item) -> int:
        path = item.path.relative_to(here)
        for number, first in enumerate(FIRST):
            if path.is_relative_to(first):
                return number
        return len(FIRST) + (path.parent == Path())

    items.sort(key=place)


def pytest_collection_finish() -> None:
    """Exclude the imported modules from garbage collection, and make it rarer."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    gc.enable()


def pytest_runtest_setup() -> None:
    """Keep small programs out of the compilation cache, which few tests of a process share.

    Before each test, since a stage that runs in this process wants all programs in it.
    """
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


# Written out instead of read from params.yaml, so that trying other settings breaks no test.
# The sizes fit the images of `tiny_dataset`; options that take long to compile are off.
SETTINGS: dict[str, Any] = {
    "seed": 3,
    "platform": "cpu",
    "data": {"name": "mnist", "root": "data/raw", "offline": "sample", **AS_THEY_ARE},
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
        "gelu": "erf",
        "norm_eps": 1e-6,
    },
    "train": {
        "init_from": "models/random",
        "freeze": [],
        "layer_decay": 1.0,
        "epochs": 2,
        "batch_size": 10,
        "optimizer": "adamw",
        "learning_rate": 0.01,
        "warmup_epochs": 0.5,
        "weight_decay": 0.05,
        "label_smoothing": 0.0,
        "class_weights": "none",
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
    },
    "evaluate": {
        "batch_size": 7,
        "faithfulness_share": 0.2,
        "corruption_share": 0.5,
        "corruptions": ["translate", "impulse_noise"],
    },
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
    """Return the folder of the repository."""
    return Path(__file__).parents[1]


@pytest.fixture(scope="session")
def settings_of_tests() -> dict[str, Any]:
    """Return valid settings with enough epochs to learn `tiny_dataset`; do not change them."""
    return {**SETTINGS, "train": {**SETTINGS["train"], "epochs": 40}}


@pytest.fixture
def tree() -> dict[str, Any]:
    """Return a valid tree of settings that a test may change."""
    return copy.deepcopy(SETTINGS)


@pytest.fixture(scope="session")
def tiny_dataset() -> Dataset:
    """Return images of 8 x 12 pixels and 2 channels; each class brightens its own third."""
    random = np.random.default_rng(0)

    def split(labels: np.ndarray) -> np.ndarray:
        images = random.integers(0, 60, (len(labels), 8, 12, 2), dtype=np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[:, 4 * label : 4 * label + 4] += 150
        return images

    y_train = np.arange(48, dtype=np.int32) % 3
    # The last three test images have wrong labels, so that no model classifies all of them.
    y_test = np.array([0, 1, 2] * 5 + [0, 0, 1], np.int32)
    drawn_classes = np.array([0, 1, 2] * 5 + [1, 2, 2])
    return Dataset(
        split(y_train), y_train, split(drawn_classes), y_test,
        "mnist", "NPZ file: made for a test", ("left", "middle", "right"),
    )  # fmt: skip


@pytest.fixture
def one_line() -> Callable[[Exception], str]:
    """Return a function that checks that an error has one line of text, and returns it."""

    def check(error: Exception) -> str:
        text = str(error)
        assert text.strip()
        assert len(text.splitlines()) == 1, text
        return text

    return check


@pytest.fixture(scope="session")
def without_utf_8_flag() -> Callable[[Path], None]:
    """Return a function that removes the flag of UTF-8 from all names of a ZIP, as macOS does."""

    def remove(path: Path) -> None:
        raw = bytearray(path.read_bytes())
        for signature, place in ((b"PK\3\4", 7), (b"PK\1\2", 9)):  # the high byte of the flags
            start = -1
            while (start := raw.find(signature, start + 1)) >= 0:
                raw[start + place] &= ~0x08
        path.write_bytes(raw)

    return remove


@pytest.fixture(scope="session")
def shared(tmp_path_factory) -> Callable[[str, Callable[[Path], None]], Path]:
    """Return a function that creates a folder once for all test processes that run in parallel."""
    parallel = "PYTEST_XDIST_WORKER" in os.environ
    base = tmp_path_factory.getbasetemp()
    base = base.parent if parallel else base

    def once(name: str, make: Callable[[Path], None]) -> Path:
        folder, done = base / name, base / f"{name}.done"
        with (base / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # the first process creates it, the others wait
            if not done.exists():
                make(folder)
                done.touch()
        return folder

    return once


# Settings of the smallest pipeline: real digits and a minimal model.
TINY = {
    "model__patch_size": 14, "model__hidden_size": 8, "model__num_layers": 1,
    "model__num_heads": 2, "model__mlp_dim": 8,
    "train__epochs": 1, "train__warmup_epochs": 0.0,
    "platform": "cpu", "evaluate__faithfulness_share": 0.02, "evaluate__corruption_share": 0.02,
    "attention__num_images": 2, "attention__num_wrong": 1,
}  # fmt: skip


@pytest.fixture(scope="session")
def reproduced(shared) -> Clone:
    """Return a clone after its first `dvc repro`, with all files committed; do not change it."""

    def make(folder: Path) -> None:
        clone = copy_project(folder)
        clone.set(**TINY)
        # The Makefile runs the same two commands.
        clone.run("python", "-m", "vit_hk.dvc.plots_page")
        clone.run("dvc", "config", "--local", "plots.html_template", "plots_page.html")
        stages = ["download", "check", "train", "evaluate", "attention", "report"]
        assert clone.repro() == stages
        clone.run("git", "add", "--all")
        clone.run("git", "commit", "--quiet", "--message=first run")

    # A path with a space and a letter outside ASCII, as users have.
    return Clone(shared("mein Projékt", make))


@pytest.fixture
def clone(reproduced, tmp_path) -> Clone:
    """Return a copy of the reproduced clone that a test may change."""
    return reproduced.copy(tmp_path / "mein Projékt")
