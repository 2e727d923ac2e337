"""dvc plots without a network: each plot is drawn, nothing is fetched."""

from pathlib import Path

import pytest
import yaml

PROJECT = Path(__file__).parents[2]
# Marks of a plot: its lines, or the cells and bars.
MARKS = "svg.marks .mark-line path[d], svg.marks .mark-rect path[d]"


@pytest.fixture(scope="module")
def wanted() -> tuple[int, int]:
    """How many plots and how many pictures dvc.yaml asks for."""
    plots = yaml.safe_load((PROJECT / "dvc.yaml").read_text("utf-8"))["plots"]
    return sum(isinstance(plot, dict) for plot in plots), sum(isinstance(p, str) for p in plots)


def assert_drawn(opened, plots: int, pictures: int) -> None:
    page = opened.page
    drawn = page.locator(".vega-embed")
    drawn.nth(plots - 1).locator(MARKS).first.wait_for(state="attached")
    assert drawn.count() == plots
    for number in range(plots):
        assert drawn.nth(number).locator(MARKS).count() > 0
    images = page.locator("img")
    assert images.count() == pictures
    assert images.evaluate_all("all => all.every(image => image.naturalWidth > 0)")
    # DVC's own plots make Vega warn.
    assert [problem for problem in opened.problems if not problem.startswith("warning: ")] == []
    assert opened.requests == []
    page.close()


def test_show(clone, open_file, wanted):
    clone.run("dvc", "plots", "show", "--out", "shown")
    assert_drawn(open_file(clone.folder / "shown" / "index.html"), *wanted)


def test_diff(clone, open_file, wanted):
    history = clone.folder / "results" / "history.csv"
    text = history.read_text("utf-8")
    history.unlink()  # it may be a link into the cache
    history.write_text(text + text.splitlines()[-1].replace("1", "2", 1) + "\n", "utf-8")
    clone.run("dvc", "plots", "diff", "HEAD", "--out", "compared")
    opened = open_file(clone.folder / "compared" / "index.html")
    assert "HEAD" in opened.page.locator(".vega-embed").first.inner_text()
    plots, pictures = wanted
    assert_drawn(opened, plots, 2 * pictures)


def test_without_the_page_dvc_draws_with_its_own(clone):
    # As in a clone where make did not run.
    (clone.folder / ".dvc" / "plots_page.html").unlink()
    clone.run("dvc", "config", "--local", "--unset", "plots.html_template")
    clone.run("dvc", "plots", "show", "--out", "shown")
    assert "<script src=" in (clone.folder / "shown" / "index.html").read_text("utf-8")
