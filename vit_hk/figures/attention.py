"""Where the classified token looks: one sheet an image, and an overview."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vit_hk.figures.images import displayable

COLORS = "viridis"  # even steps for colour-blind eyes and in grey
OVERLAY_ALPHA = 0.65
GAP = 0.08  # between tiles, as a part of a tile


def draw_sheet(image: np.ndarray, maps: np.ndarray, title: str, reader: str) -> Figure:
    """Attention of each layer and head over the patches of one image.

    Args:
      image: uint8 [height, width, channels].
      maps: [L, H, rows, columns], weight of each patch.
      title: says which image it is, its class and the prediction.
      reader: the token that looks, for example "the class token".
    """
    layers, heads = maps.shape[:2]
    tile = float(np.clip(9 / max(layers, heads), 0.45, 1.15))  # inches
    width, height = 2 * (heads * tile + 0.9) + 2.9, layers * tile + 1.7
    figure = Figure(figsize=(width, max(height, 3.6)), layout="constrained")
    figure.suptitle(title)
    original, alone, over = figure.subplots(1, 3, width_ratios=[1.9, heads * tile, heads * tile])
    original.imshow(displayable(image))
    original.set(title="the image\nand its patches", xticks=[], yticks=[])
    _draw_patch_borders(original, image.shape, maps.shape[-2:])
    scale = {"cmap": COLORS, "vmin": 0.0, "vmax": float(maps.max())}
    for axes, name in ((alone, "attention alone"), (over, "attention over the image")):
        for layer in range(layers):
            for head in range(heads):
                corner = (head * (1 + GAP), layer * (1 + GAP))
                extent = (corner[0], corner[0] + 1, corner[1] + 1, corner[1])
                if axes is over:
                    axes.imshow(displayable(image), extent=extent)
                drawn = axes.imshow(
                    maps[layer, head], extent=extent, interpolation="nearest",
                    alpha=OVERLAY_ALPHA if axes is over else 1.0, **scale,
                )  # fmt: skip
        _label_tiles(axes, layers, heads)
        axes.set_title(name)
    uniform = 1 / maps[0, 0].size
    bar = figure.colorbar(
        alone.images[0], ax=[original, alone, over], location="bottom", aspect=60, shrink=0.7
    )
    bar.set_label(
        f"share of the attention of {reader} (evenly over the patches would be {uniform:.3f})"
    )
    del drawn
    return figure


def _label_tiles(axes: Axes, layers: int, heads: int) -> None:
    axes.set(xlim=(0, heads * (1 + GAP) - GAP), ylim=(layers * (1 + GAP) - GAP, 0))
    axes.set_xticks(
        [head * (1 + GAP) + 0.5 for head in range(heads)],
        [f"head {head + 1}" for head in range(heads)],
        rotation=0 if heads <= 6 else 90,
    )
    axes.set_yticks(
        [layer * (1 + GAP) + 0.5 for layer in range(layers)],
        [f"layer {layer + 1}" for layer in range(layers)],
    )
    axes.tick_params(length=0, labelsize=8)
    axes.spines[:].set_visible(False)


def _draw_patch_borders(axes: Axes, image: tuple[int, ...], grid: tuple[int, int]) -> None:
    """Lines between the patches of an image that stands in pixel coordinates."""
    for row in range(1, grid[0]):
        axes.axhline(row * image[0] / grid[0] - 0.5, color="tab:orange", linewidth=0.6)
    for column in range(1, grid[1]):
        axes.axvline(column * image[1] / grid[1] - 0.5, color="tab:orange", linewidth=0.6)


def draw_overview(images: np.ndarray, maps: np.ndarray, titles: list[str], reader: str) -> Figure:
    """Each image beside the mean over the heads of its last layer's attention.

    Args:
      images: uint8 [B, height, width, channels].
      maps: [B, rows, columns], weight of each patch.
      titles: B short texts.
      reader: the token that looks, for example "the class token".
    """
    columns = min(4, len(images))
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(3.0 * columns, 2.0 * rows + 1.2), layout="constrained")
    figure.suptitle(f"Where {reader} looks in the last layer, mean over the heads")
    blocks = figure.subfigures(rows, columns, squeeze=False).ravel()
    scale = {"cmap": COLORS, "vmin": 0.0, "vmax": float(maps.max())}
    every = []
    for block, image, weights, title in zip(blocks, images, maps, titles, strict=False):
        block.suptitle(title, fontsize=9)
        left, right = block.subplots(1, 2)
        left.imshow(displayable(image))
        right.imshow(displayable(image))
        extent = (-0.5, image.shape[1] - 0.5, image.shape[0] - 0.5, -0.5)
        right.imshow(weights, extent=extent, interpolation="nearest", alpha=OVERLAY_ALPHA, **scale)
        for axes in (left, right):
            axes.set(xticks=[], yticks=[])
        every.append(right)
    return figure
