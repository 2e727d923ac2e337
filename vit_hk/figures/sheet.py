"""A figure of one image with the attention maps of all layers and heads."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from vit_hk.figures.images import to_rgb
from vit_hk.figures.overlay import ALPHA, COLORMAP
from vit_hk.figures.text import extra_height, fit_clauses

GAP = 0.08  # between tiles, as a share of a tile's width
TITLE_SIZE = 12  # points


def draw_sheet(
    image: np.ndarray,
    maps: np.ndarray,
    *,
    index: int | None = None,
    actual: str | None = None,
    predicted: str,
    probability: float,
    query_name: str,
) -> Figure:
    """Draw the attention of each layer and head to the patches of one image.

    Args:
      image: uint8 [height, width, channels].
      maps: [L, H, rows, columns], attention weight of each patch.
      index: position of the image in the test set; None where it is not of the test set.
      actual: name of the true class; None where it is unknown.
      predicted: name of the predicted class.
      probability: of the predicted class.
      query_name: name of the query token, for example "the class token".
    """
    layers, heads = maps.shape[:2]
    aspect = image.shape[0] / image.shape[1]  # height of a tile, in units of its width
    tile = float(np.clip(9 / max(layers * aspect, heads), 0.45, 1.15 / aspect**0.5))  # inches
    panel = max(heads * tile, 2.1)  # the minimum is the width of its title
    width = max(2 * (panel + 0.9) + 2.6, 8.0)
    clauses = _title_clauses(index, actual, predicted, probability)
    title = fit_clauses(clauses, width - 0.3, TITLE_SIZE, max_lines=2)
    height = max(layers * tile * (aspect + GAP) + 2.0, 3.6) + extra_height([[title]], 1, TITLE_SIZE)
    figure = Figure(figsize=(width, height))
    figure.set_layout_engine("constrained", h_pad=0.1)  # less would clip the last line of text
    figure.suptitle(title, fontsize=TITLE_SIZE)
    original, alone, overlaid = figure.subplots(1, 3, width_ratios=[1.9, panel, panel])
    original.imshow(to_rgb(image))
    original.set(title="image with\npatch borders", xticks=[], yticks=[])
    _draw_patch_borders(original, image.shape, maps.shape[-2:])
    mappable = ScalarMappable(Normalize(0.0, float(maps.max())), COLORMAP)
    colors = _color_pixels(maps, mappable, image)
    blended = ALPHA * colors + (1 - ALPHA) * to_rgb(image) / 255
    _draw_tiles(alone, colors)
    _draw_tiles(overlaid, blended)
    for axes, name in ((alone, "attention alone"), (overlaid, "attention over the image")):
        axes.tick_params(axis="x", rotation=0 if tile > 0.6 else 90)
        axes.set_title(name)
    uniform = 1 / maps[0, 0].size
    bar = figure.colorbar(
        mappable, ax=[original, alone, overlaid], location="bottom", aspect=60, shrink=0.7,
        panchor=(0.5, 1.0),  # aligns the tops of the three panels
    )  # fmt: skip
    bar.set_label(f"attention weight (query: {query_name}; uniform over patches: {uniform:.3f})")
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


def _color_pixels(maps: np.ndarray, mappable: ScalarMappable, image: np.ndarray) -> np.ndarray:
    """Return the colour of each pixel's patch, RGB in [0, 1], [L, H, height, width, 3]."""
    colors = mappable.to_rgba(maps.reshape(-1, maps.shape[-1]))[..., :3]
    height, width = image.shape[0] // maps.shape[-2], image.shape[1] // maps.shape[-1]
    return colors.reshape(*maps.shape, 3).repeat(height, axis=2).repeat(width, axis=3)


def _draw_tiles(axes: Axes, tiles: np.ndarray) -> None:
    """Draw tiles [L, H, height, width, 3] as one picture, since an artist per tile is slow."""
    layers, heads, height, width, _ = tiles.shape
    gap = max(1, round(GAP * width))  # pixels
    padded = np.pad(tiles, [(0, 0), (0, 0), (0, gap), (0, gap), (0, 0)], constant_values=1.0)
    rows = padded.swapaxes(1, 2).reshape(layers * (height + gap), heads * (width + gap), 3)
    axes.imshow(rows[:-gap, :-gap])
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
