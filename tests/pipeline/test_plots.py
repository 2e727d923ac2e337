"""`dvc plots` without a network: each plot is drawn, and nothing is loaded from the web."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml
from browser import OpenedPage
from project_clone import Clone

PROJECT = Path(__file__).parents[2]
# The marks of a plot: its lines, cells or bars.
MARKS = "svg.marks :is(.mark-line, .mark-rect, .mark-symbol) path[d]"


@pytest.fixture(scope="module")
def counts(reproduced) -> tuple[int, int]:
    """Return the number of Vega plots that dvc.yaml lists, and the number of all pictures."""
    plots = yaml.safe_load((PROJECT / "dvc.yaml").read_text("utf-8"))["plots"]
    pictures = list((reproduced.folder / "results").rglob("*.png"))
    return sum(isinstance(plot, dict) for plot in plots), len(pictures)


def check_page(opened: OpenedPage, num_plots: int, num_images: int) -> None:
    page = opened.page
    plots = page.locator(".vega-embed")
    plots.nth(num_plots - 1).locator(MARKS).first.wait_for(state="attached")
    assert plots.count() == num_plots
    for number in range(num_plots):
        assert plots.nth(number).locator(MARKS).count() > 0
    images = page.locator("img")
    assert images.count() == num_images
    assert images.evaluate_all("all => all.every(image => image.naturalWidth > 0)")
    assert opened.problems == []
    assert opened.requests == []
    page.close()


def test_show(clone, open_file, counts):
    clone.run("dvc", "plots", "show", "--out", "shown")
    opened = open_file(clone.folder / "shown" / "index.html")
    opened.page.locator("#confusion svg.marks").wait_for()
    # The matrix shows its counts, without a menu; they are those of the table.
    predictions = pd.read_csv(clone.folder / "results" / "predictions.csv")
    texts = opened.page.locator("#confusion .role-mark.mark-text text").all_text_contents()
    counted = predictions.groupby(["actual", "predicted"]).size()
    assert sorted(int(text.replace(",", "")) for text in texts) == sorted(counted)
    legend = opened.page.locator("#loss .role-legend-label text").all_text_contents()
    assert {"training", "validation"} <= set(legend)
    texts = [image.get_attribute("alt") for image in opened.page.locator("img").all()]
    assert len(set(texts)) == len(texts)
    # Each picture is a plot. Numbered ones stand in folders, which DVC's extension for VS Code
    # shows with a slider.
    pictures = clone.folder.rglob("results/**/*.png")
    names = {path.relative_to(clone.folder).as_posix() for path in pictures}
    assert set(texts) == {f"{name}, workspace" for name in names}
    check_page(opened, *counts)


def test_diff(clone, open_file, counts):
    history = clone.folder / "results" / "history.csv"
    text = history.read_text("utf-8")
    history.unlink()  # it may be a link into the cache
    history.write_text(text + text.splitlines()[-1].replace("1", "2", 1) + "\n", "utf-8")
    clone.run("dvc", "plots", "diff", "HEAD", "--out", "compared")
    opened = open_file(clone.folder / "compared" / "index.html")
    assert "HEAD" in opened.page.locator(".vega-embed").first.inner_text()
    num_plots, num_images = counts
    check_page(opened, num_plots, 2 * num_images)


def test_fresh_clone_shows_the_tables_that_git_holds(clone, open_file, tmp_path):
    clone.run("git", "add", "--all")
    clone.run("git", "commit", "--quiet", "--allow-empty", "--message=results")
    fresh = Clone(tmp_path / "fresh")
    clone.run("git", "clone", "--quiet", ".", str(fresh.folder))
    for name in ("plots_page.html", "config.local"):  # as `make` writes them
        shutil.copy(clone.folder / ".dvc" / name, fresh.folder / ".dvc")
    printed = fresh.run("dvc", "plots", "show", "--out", "shown")
    assert "DVC failed to load some plots" in printed
    opened = open_file(fresh.folder / "shown" / "index.html")
    for plot in ("confusion", "f1"):
        opened.page.locator(f"#{plot} {MARKS}").first.wait_for(state="attached")
    assert opened.problems == []
    opened.page.close()
    fresh.run("dvc", "plots", "diff", "HEAD", "HEAD~1", "--out", "compared")


def test_without_the_offline_page_dvc_writes_its_own(clone):
    # As in a clone where make did not run.
    for name in ("plots_page.html", "config.local"):
        (clone.folder / ".dvc" / name).unlink()
    clone.run("dvc", "plots", "show", "--out", "shown")
    assert "<script src=" in (clone.folder / "shown" / "index.html").read_text("utf-8")
