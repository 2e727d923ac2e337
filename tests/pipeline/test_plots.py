"""`dvc plots` without a network: each plot is drawn, and nothing is loaded from the web."""

from pathlib import Path

import pytest
import yaml
from browser import OpenedPage
from project_clone import Clone

PROJECT = Path(__file__).parents[2]
# The marks of a plot: its lines, cells or bars.
MARKS = "svg.marks :is(.mark-line, .mark-rect) path[d]"


@pytest.fixture(scope="module")
def counts() -> tuple[int, int]:
    """Return the number of Vega plots and the number of images that dvc.yaml lists."""
    plots = yaml.safe_load((PROJECT / "dvc.yaml").read_text("utf-8"))["plots"]
    return sum(isinstance(plot, dict) for plot in plots), sum(isinstance(p, str) for p in plots)


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
    # DVC's own plots cause warnings of Vega.
    assert [problem for problem in opened.problems if not problem.startswith("warning: ")] == []
    assert opened.requests == []
    page.close()


def test_show(clone, open_file, counts):
    clone.run("dvc", "plots", "show", "--out", "shown")
    check_page(open_file(clone.folder / "shown" / "index.html"), *counts)


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
    fresh.run("python", "-m", "vit_hk.dvc.plots_page")
    fresh.run("dvc", "config", "--local", "plots.html_template", "plots_page.html")
    printed = fresh.run("dvc", "plots", "show", "--out", "shown")
    assert "DVC failed to load some plots" in printed
    opened = open_file(fresh.folder / "shown" / "index.html")
    for plot in ("confusion", "f1"):
        opened.page.locator(f"#{plot} {MARKS}").first.wait_for(state="attached")
    opened.page.close()


def test_without_the_offline_page_dvc_writes_its_own(clone):
    # As in a clone where make did not run.
    (clone.folder / ".dvc" / "plots_page.html").unlink()
    clone.run("dvc", "config", "--local", "--unset", "plots.html_template")
    clone.run("dvc", "plots", "show", "--out", "shown")
    assert "<script src=" in (clone.folder / "shown" / "index.html").read_text("utf-8")
