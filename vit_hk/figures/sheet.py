"""A figure of one image with the attention maps of all layers and heads."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vit_hk.figures.images import to_rgb
from vit_hk.figures.outline import image_outline, scale_lines
from vit_hk.figures.overlay import draw_outlines, label_scale, weight_colors
from vit_hk.figures.text import extra_height, fit_clauses

GAP = 0.08  # between tiles, as a share of a tile's width
TITLE_SIZE = 12  # points
OUTLINE_WIDTH = 0.6  # points; tiles are small
MAX_TILE_SIDE = 150  # pixels, about as many as a figure has for a tile


def draw_sheet(
    image: np.ndarray,
    maps: np.ndarray,
    *,
    index: int | None = None,
    actual: str | None = None,
    predicted: str,
    probability: float,
    query_name: str,
    num_tokens: int,
) -> Figure:
    """Draw the attention of each layer and head, with the outline of the image on each map.

    Args:
      image: uint8 [height, width, channels].
      maps: [L, H, rows, columns], attention weight of each patch.
      index: position of the image in the test set; None where it is not of the test set.
      actual: name of the true class; None where it is unknown.
      predicted: name of the predicted class.
      probability: of the predicted class.
      query_name: name of the query token, for example "the class token".
      num_tokens: number of all tokens, over which the weights of a query sum to 1.
    """
    layers, heads = maps.shape[:2]
    aspect = image.shape[0] / image.shape[1]  # height of a tile, in units of its width
    tile = float(np.clip(10 / max(layers * aspect, heads), 0.5, 1.5 / aspect**0.5))  # inches
    panel = max(heads * tile, 3.0)  # the minimum is the width of its title
    width = max(panel + 4.2, 8.0)
    clauses = _title_clauses(index, actual, predicted, probability)
    title = fit_clauses(clauses, width - 0.3, TITLE_SIZE, max_lines=2)
    height = max(layers * tile * (aspect + GAP) + 2.2, 3.8) + extra_height([[title]], 1, TITLE_SIZE)
    figure = Figure(figsize=(width, height))
    figure.set_layout_engine("constrained", h_pad=0.1)  # less would clip the last line of text
    figure.suptitle(title, fontsize=TITLE_SIZE)
    original, attention = figure.subplots(1, 2, width_ratios=[2.2, panel])
    original.imshow(to_rgb(image))
    original.set(title="image with\npatch borders", xticks=[], yticks=[])
    _draw_patch_borders(original, image.shape, maps.shape[-2:])
    colors = weight_colors(float(maps.max()))
    shades = colors.to_rgba(maps.reshape(-1, 1), bytes=True)
    _draw_tiles(attention, shades.reshape(*maps.shape, 4), image)
    attention.tick_params(axis="x", rotation=0 if tile > 0.6 else 90)
    attention.set_title("attention, and outline of the image")
    bar = figure.colorbar(
        colors, ax=[original, attention], location="bottom", aspect=60, shrink=0.8,
        panchor=(0.5, 1.0),  # aligns the tops of both panels
    )  # fmt: skip
    uniform = f"uniform over all tokens: {1 / num_tokens:.3g}"
    label = f"attention weight (query: {query_name}; {uniform})"
    bar.set_label(label_scale(label))
    return figure


def _title_clauses(
    index: int | None, actual: str | None, predicted: str, probability: float
) -> list[tuple[str, str]]:
    """Return the clauses of the title, as for `fit_clauses`."""
    prediction = f"redicted {{}} ({100 * probability:.0f} %)"
    if actual is None:
        return [("P" + prediction, predicted)]
    ending = "" if predicted == actual else ": WRONG"
    return [(f"Test image {index}: true {{}},", actual), ("p" + prediction + ending, predicted)]


def _draw_tiles(axes: Axes, colors: np.ndarray, image: np.ndarray) -> None:
    """Draw tiles as one picture, since an artist for each is slow, and an outline on each.

    Args:
      axes: where to draw.
      colors: RGBA, uint8 [L, H, rows, columns, 4].
      image: uint8 [height, width, channels].
    """
    layers, heads, num_rows, num_columns, _ = colors.shape
    patch_size = image.shape[0] // num_rows
    side = min(patch_size, -(-MAX_TILE_SIDE // max(num_rows, num_columns)))  # of a patch
    height, width = side * num_rows, side * num_columns
    tiles = colors.repeat(side, axis=2).repeat(side, axis=3)
    gap = max(1, round(GAP * width))  # pixels
    padded = np.pad(tiles, [(0, 0), (0, 0), (0, gap), (0, gap), (0, 0)], constant_values=255)
    rows = padded.swapaxes(1, 2).reshape(layers * (height + gap), heads * (width + gap), 4)
    axes.imshow(rows[:-gap, :-gap], interpolation="nearest")
    corners = [
        (head * (width + gap), layer * (height + gap))
        for layer in range(layers)
        for head in range(heads)
    ]
    outline = scale_lines(image_outline(image), side / patch_size)
    draw_outlines(axes, [line + corner for corner in corners for line in outline], OUTLINE_WIDTH)
    axes.set_xticks(
        [head * (width + gap) + (width - 1) / 2 for head in range(heads)],
        [f"head {head + 1}" for head in range(heads)],
    )
    axes.set_yticks(
        [layer * (height + gap) + (height - 1) / 2 for layer in range(layers)],
        [f"layer {layer + 1}" for layer in range(layers)],
    )
    axes.tick_params(length=0, labelsize=8)
    axes.spines[:].set_visible(False)


def _draw_patch_borders(axes: Axes, image_shape: tuple[int, ...], grid: tuple[int, ...]) -> None:
    """Draw lines between the patches of an image whose axes are in pixels."""
    for row in range(1, grid[0]):
        axes.axhline(row * image_shape[0] / grid[0] - 0.5, color="tab:orange", linewidth=0.6)
    for column in range(1, grid[1]):
        axes.axvline(column * image_shape[1] / grid[1] - 0.5, color="tab:orange", linewidth=0.6)
