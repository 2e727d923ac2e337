import copy
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from vit_hk.dataset import Dataset

# Written out instead of read from params.yaml, so that trying other settings breaks no test.
# The sizes fit the images of `tiny_dataset`; what takes long to compile is off.
SETTINGS: dict[str, Any] = {
    "seed": 3,
    "data": {"name": "mnist", "root": "data/raw", "offline": "sample"},
    "model": {
        "patch_size": 4,
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
        "min_steps": 0,
        "batch_size": 10,
        "learning_rate": 0.01,
        "warmup_epochs": 0.5,
        "weight_decay": 0.05,
        "label_smoothing": 0.0,
        "grad_clip": 1.0,
        "ema_decay": 0.0,
        "validation_fraction": 0.25,
        "augment": {"shift": 0},
        "snapshot_epochs": [1, 2, 50],
        "checkpoint_steps": 0,
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


class Opened(NamedTuple):
    """A page from disk, and what should stay empty."""

    page: Page
    problems: list[str]  # messages on the console, errors of scripts
    requests: list[str]  # of anything but the file itself and what it holds


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    names = ("chromium", "chromium-browser", "google-chrome")
    program = next(filter(None, map(shutil.which, names)), None)
    if program is None:
        pytest.skip(f"no browser on this machine (looked for {', '.join(names)})")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def open_file(chromium) -> Callable[..., Opened]:
    """Open an HTML file; keyword arguments are those of playwright's Browser.new_page."""

    def run(path: Path, **options: Any) -> Opened:
        page = chromium.new_page(**options)
        opened = Opened(page, [], [])
        own = path.parent.resolve().as_uri()
        page.on("console", lambda m: opened.problems.append(f"{m.type}: {m.text}"))
        page.on("pageerror", lambda error: opened.problems.append(str(error)))
        page.on("request", lambda request: opened.requests.append(request.url))
        page.goto(path.resolve().as_uri())
        opened.requests[:] = [
            url for url in opened.requests if not url.startswith((own, "data:", "blob:"))
        ]
        return opened

    return run
