"""The page that compares two runs, rendered from its template."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vit_hk.compare.curves import make_charts
from vit_hk.compare.differences import (
    compare_metrics,
    compare_settings,
    compare_speeds,
    have_same_images,
)
from vit_hk.compare.disagreements import is_right, list_disagreements, read_test_images
from vit_hk.compare.explorers import Explorable, choose_images, read_explorable
from vit_hk.compare.run import Run
from vit_hk.compare.statistics import LEVEL, count_pairs
from vit_hk.data.image_rows import are_equal
from vit_hk.errors import UserError
from vit_hk.report.charts import Chart
from vit_hk.report.page import MAX_BYTES, render_template
from vit_hk.report.page import TEMPLATES as REPORT_TEMPLATES
from vit_hk.report.page_model import encoded_size

GENERATOR = "vit_hk compare"  # tells a page of this command from a file of the user
NO_ROOM = f"the page would have more than {MAX_BYTES / 1e6:.0f} MB."
STORED_ONLY = (
    "Together, both models are too large for this page. So it shows those images only whose "
    "attention both runs have stored."
)
POOLED_ONLY = f"{STORED_ONLY} The attention of single patches and registers is left out too."
TEMPLATES = (Path(__file__).parent, REPORT_TEMPLATES)


def render_page(a: Run, b: Run) -> str:
    """Render the page; all text from outside of the template is escaped.

    Raises:
      UserError: a file that both pages need is damaged.
    """
    same_images = have_same_images(a, b) and not _pixels_differ(a, b)
    pairs = count_pairs(is_right(a.predictions), is_right(b.predictions)) if same_images else None
    explorables, reason = _read_explorables(a, b) if same_images else ([], "")
    images = explorables[0].dataset.x_test if explorables else _read_images(a, b, same_images)
    only_a = list_disagreements(a.predictions, b.predictions, images) if pairs else []
    only_b = list_disagreements(b.predictions, a.predictions, images) if pairs else []
    charts: list[Chart] = []
    if a.history is not None and b.history is not None:
        charts = make_charts(a.history, b.history)
    content = {
        "a": a,
        "b": b,
        "generator": GENERATOR,
        "same_images": same_images,
        "pairs": pairs,
        "level": LEVEL,
        "settings": compare_settings(a, b),
        "metrics": compare_metrics(a, b, pairs),
        "speeds": compare_speeds(a, b),
        "charts": charts,
        "only_a": only_a,
        "only_b": only_b,
    }
    listed = [image.index for image in (*only_a, *only_b)]
    for indices, runs, note in _explorer_contents(explorables, listed):
        page = render_template(
            "compare.html", TEMPLATES, **content, runs=runs, explored=set(indices), reason=note
        )
        if len(page.encode()) <= MAX_BYTES:
            return page
    return render_template(
        "compare.html", TEMPLATES, **content, runs=[], explored=set(), reason=reason or NO_ROOM
    )


def _pixels_differ(a: Run, b: Run) -> bool:
    """Return whether test images that were prepared alike have other pixels.

    False where a data set is missing, or damaged, which is reported where its images are shown.
    """
    try:
        first, second = a.dataset, b.dataset
    except UserError:
        return False
    if first is None or second is None:
        return False
    if (first.preparation, first.image_shape) != (second.preparation, second.image_shape):
        return False  # the same photographs in another size
    return not are_equal(first.x_test, second.x_test)


def _explorer_contents(
    explorables: list[Explorable], listed: list[int]
) -> Iterator[tuple[list[int], list[dict[str, Any]], str]]:
    """Yield contents of both explorers, the best one first: images, data, and what is left out."""
    if not explorables:
        return
    # Compared before they are encoded: weights may take a hundred times the room of the page.
    if sum(encoded_size(run.weights) for run in explorables) < MAX_BYTES:
        indices = choose_images(explorables, listed)
        yield indices, [run.page_data(indices) for run in explorables], ""
    a, b = explorables
    if shared := [index for index in a.stored if index in b.stored]:
        for of_tokens, note in ((True, STORED_ONLY), (False, POOLED_ONLY)):
            data = [run.stored_page_data(shared, of_tokens=of_tokens) for run in explorables]
            yield shared, data, note


def _read_explorables(a: Run, b: Run) -> tuple[list[Explorable], str]:
    """Read both runs for the explorers, or return the reason why there are none."""
    try:
        both = [read_explorable(run) for run in (a, b)]
    except UserError as error:
        return [], f"{error}."
    if not are_equal(*(run.dataset.x_test for run in both)):
        return [], "the pixels of their test images differ."
    return both, ""


def _read_images(a: Run, b: Run, same_images: bool) -> np.ndarray | None:
    """Read the test images of whichever run has its data set, if both have the same images."""
    if not same_images:
        return None
    images = read_test_images(a)
    return read_test_images(b) if images is None else images
