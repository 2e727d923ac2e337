"""Which stages a change of code or of one setting makes out of date, as `dvc status` reports."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def clone(reproduced, tmp_path_factory):
    """Return a copy of the reproduced clone, in which each test changes a file and restores it."""
    return reproduced.copy(tmp_path_factory.mktemp("status") / "project")


@contextlib.contextmanager
def restored(path: Path) -> Iterator[None]:
    """Let a test change a file, and restore it afterwards."""
    before = path.read_bytes()
    try:
        yield
    finally:
        path.write_bytes(before)


def append_comment(path: Path) -> None:
    path.write_text(path.read_text("utf-8") + "# A comment.\n", "utf-8")


def test_nothing_is_changed_at_first(clone):
    assert clone.changed_stages() == set()


@pytest.mark.parametrize(
    ("file", "stages"),
    [
        ("vit_hk/report/charts.py", {"report"}),
        ("vit_hk/report/report.css", {"report"}),
        ("vit_hk/figures/curves.py", {"report", "attention"}),
        ("stages/attention_figures.py", {"attention"}),
        ("vit_hk/explain/relevance.py", {"evaluate", "attention", "report"}),
        ("vit_hk/data/sources/checksums.py", {"download"}),
        ("vit_hk/training/loop.py", {"train"}),
        ("vit_hk/kernels/gelu.py", {"train", "evaluate", "attention"}),
        ("vit_hk/dvc/repair.py", set()),
        ("README.md", set()),
    ],
)
def test_change_of_a_file_concerns_only_the_stages_that_run_it(clone, file, stages):
    with restored(clone.folder / file):
        append_comment(clone.folder / file)
        assert clone.changed_stages() == stages


@pytest.mark.parametrize(
    ("change", "stages"),
    [
        ({"platform": "auto"}, {"check", "train", "evaluate", "attention", "report"}),
        ({"data__root": "vit_hk"}, {"download", "check"}),
        ({"train__augment__shift": 1}, {"check", "train", "report"}),
        ({"evaluate__faithfulness_share": 0.1}, {"check", "evaluate", "report"}),
        ({"attention__num_images": 3}, {"check", "attention", "report"}),
        ({"attention__head_fusion": "max"}, {"check", "evaluate", "attention", "report"}),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_change_of_a_setting_concerns_only_the_stages_that_list_it(clone, change, stages):
    with restored(clone.folder / "params.yaml"):
        clone.set(**change)
        assert clone.changed_stages() == stages
