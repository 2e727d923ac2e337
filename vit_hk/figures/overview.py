"""A figure of many images beside their last layer's attention."""

import numpy as np
from matplotlib.figure import Figure

from vit_hk.figures.images import to_rgb
from vit_hk.figures.overlay import draw_overlay, label_scale, weight_colors
from vit_hk.figures.text import fit_clauses, lines_height

FONT_SIZE = 9


def draw_overview(
    images: np.ndarray,
    maps: np.ndarray,
    classes: list[tuple[str, str]],
    query_name: str,
    *,
    epoch: int | None = None,
    max_weight: float | None = None,
) -> Figure:
    """Draw each image beside the last layer's attention, averaged over heads.

    Args:
      images: uint8 [B, height, width, channels].
      maps: [B, rows, columns], attention weight of each patch.
      classes: B pairs, the predicted and the true class.
      query_name: name of the query token, for example "the class token".
      epoch: the epoch after which the model was like this; None for the trained model.
      max_weight: the weight of the last colour; None for the largest weight of these maps.
    """
    max_weight = float(maps.max()) if max_weight is None else max_weight
    columns = min(4, len(images))
    rows = -(-len(images) // columns)
    width = max(3.0 * columns, 7.0)  # inches
    titles = []
    for guess, label in classes:
        ending = "" if guess == label else ": WRONG"
        clauses = (("true {},", label), (f"predicted {{}}{ending}", guess))
        titles.append(fit_clauses(clauses, width / columns - 0.15, FONT_SIZE, max_lines=2))
    breaks = max(title.count("\n") for title in titles)
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
