"""A figure of many images beside their last layer's attention."""

import numpy as np
from matplotlib.figure import Figure

from vit_hk.figures.images import to_rgb
from vit_hk.figures.overlay import draw_overlay, label_scale, weight_colors
from vit_hk.figures.text import fit_clauses, lines_height

FONT_SIZE = 9
MAX_COLUMNS = 4


def count_breaks(classes: list[tuple[str, str]]) -> int:
    """Return the number of line breaks of the longest title of an overview."""
    columns = min(MAX_COLUMNS, len(classes))
    return _count_breaks(_make_titles(classes, _width(columns) / columns))


def _count_breaks(titles: list[str]) -> int:
    return max(title.count("\n") for title in titles)


def _width(columns: int) -> float:
    """Return the width of a figure in inches."""
    return max(3.0 * columns, 7.0)


def _make_titles(classes: list[tuple[str, str]], width: float) -> list[str]:
    """Return the title of each image, wrapped to a width in inches."""
    titles = []
    for guess, label in classes:
        ending = "" if guess == label else ": WRONG"
        clauses = (("true {},", label), (f"predicted {{}}{ending}", guess))
        titles.append(fit_clauses(clauses, width - 0.15, FONT_SIZE, max_lines=2))
    return titles


def draw_overview(
    images: np.ndarray,
    maps: np.ndarray,
    classes: list[tuple[str, str]],
    query_name: str,
    *,
    epoch: int | None = None,
    max_weight: float | None = None,
    min_breaks: int = 0,
) -> Figure:
    """Draw each image beside the last layer's attention, averaged over heads.

    Args:
      images: uint8 [B, height, width, channels].
      maps: [B, rows, columns], attention weight of each patch.
      classes: B pairs, the predicted and the true class.
      query_name: name of the query token, for example "the class token".
      epoch: the epoch after which the model was like this; None for the trained model.
      max_weight: the weight of the last colour; None for the largest weight of these maps.
      min_breaks: the line breaks for which each title has room, as of `count_breaks`.
    """
    max_weight = float(maps.max()) if max_weight is None else max_weight
    columns = min(MAX_COLUMNS, len(images))
    rows = -(-len(images) // columns)
    width = _width(columns)
    titles = _make_titles(classes, width / columns)
    breaks = max(min_breaks, _count_breaks(titles))
    titles = ["\n" * (breaks - title.count("\n")) + title for title in titles]  # aligns images
    row_height = 1.4 * images.shape[1] / images.shape[2] + 0.4
    images_height = rows * (row_height + lines_height(breaks, FONT_SIZE))
    figure = Figure(figsize=(width, images_height + 1.3), layout="constrained")
    when = "" if epoch is None else f"\nafter epoch {epoch}"
    figure.suptitle(f"Attention of {query_name} in the last layer, mean over heads{when}")
    above, below = figure.subfigures(
        2, 1, squeeze=False, height_ratios=[images_height, 0.9]
    ).ravel()
    blocks = above.subfigures(rows, columns, squeeze=False).ravel()
    for block, image, weights, title in zip(blocks, images, maps, titles, strict=False):
        block.suptitle(title, fontsize=FONT_SIZE)
        left, right = block.subplots(1, 2)
        left.imshow(to_rgb(image))
        draw_overlay(right, image, weights, max_weight)
        for axes in (left, right):
            axes.set(xticks=[], yticks=[], anchor="N")
    bar = below.colorbar(
        weight_colors(max_weight), cax=below.add_axes((0.15, 0.75, 0.7, 0.15)),
        orientation="horizontal",
    )  # fmt: skip
    bar.set_label(label_scale(f"attention weight (query: {query_name})"))
    return figure
