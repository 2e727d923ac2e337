"""The page that compares two runs, rendered from its template."""

from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from vit_hk.compare.curves import make_charts
from vit_hk.compare.differences import compare_metrics, compare_settings, have_same_images
from vit_hk.compare.disagreements import is_right, list_disagreements, read_test_images
from vit_hk.compare.explorers import Explorable, choose_images, read_explorable
from vit_hk.compare.run import Run
from vit_hk.compare.statistics import LEVEL, count_pairs
from vit_hk.errors import UserError

MAX_BYTES = 5_000_000
GENERATOR = "vit_hk compare"  # tells a page of this command from a file of the user
TEMPLATES = (Path(__file__).parent, Path(__file__).parents[1] / "report")


def render_page(a: Run, b: Run) -> str:
    """Render the page; all text from outside of the template is escaped.

    Raises:
      UserError: a file that both pages need is damaged.
    """
    same_images = have_same_images(a, b)
    pairs = count_pairs(is_right(a.predictions), is_right(b.predictions)) if same_images else None
    explorables, reason = _read_explorables(a, b) if same_images else ([], "")
    images = explorables[0].dataset.x_test if explorables else _read_images(a, b, same_images)
    only_a = list_disagreements(a.predictions, b.predictions, images) if pairs else []
    only_b = list_disagreements(b.predictions, a.predictions, images) if pairs else []
    content = {
        "a": a,
        "b": b,
        "generator": GENERATOR,
        "same_images": same_images,
        "pairs": pairs,
        "level": LEVEL,
        "settings": compare_settings(a, b),
        "metrics": compare_metrics(a, b, pairs),
        "charts": []
        if a.history is None or b.history is None
        else make_charts(a.history, b.history),
        "only_a": only_a,
        "only_b": only_b,
    }
    if explorables:
        indices = choose_images(explorables, [image.index for image in (*only_a, *only_b)])
        page = _render(**content, runs=[run.page_data(indices) for run in explorables], reason="")
        if len(page.encode()) <= MAX_BYTES:
            return page
        reason = f"with both models the page would have more than {MAX_BYTES / 1e6:.0f} MB"
    return _render(**content, runs=[], reason=reason)


def _read_explorables(a: Run, b: Run) -> tuple[list[Explorable], str]:
    """Read both runs for the explorers, or return the reason why there are none."""
    try:
        both = [read_explorable(run) for run in (a, b)]
    except UserError as error:
        return [], str(error)
    if (both[0].dataset.x_test != both[1].dataset.x_test).any():
        return [], "the pixels of their test images differ"
    return both, ""


def _read_images(a: Run, b: Run, same_images: bool) -> np.ndarray | None:
    """Read the test images of whichever run has its data set, if both have the same images."""
    if not same_images:
        return None
    images = read_test_images(a)
    return read_test_images(b) if images is None else images


def _render(**content: Any) -> str:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("compare.html").render(**content)
