"""The panel of the mean attention over all test images, for each layer and head."""

from typing import Any

import numpy as np
from matplotlib import colormaps

from vit_hk.explain.attention_moments import AttentionMoments, share_in_common
from vit_hk.explain.patch_attention import query_name
from vit_hk.figures.overlay import COLORMAP
from vit_hk.params import ImageShape, ModelSettings
from vit_hk.report.panels.panel import Panel
from vit_hk.report.pictures import image_url

MAX_CHARACTERS = 60_000  # of all pictures
NEARLY_ALL = 0.9  # a share in common from which a map tells little of its image


def mean_attention_panel(
    moments: AttentionMoments, model: ModelSettings, image_shape: ImageShape
) -> Panel:
    """Make the panel of the mean maps; without maps where these would make the page too large.

    Args:
      moments: means over all test images.
      model: the architecture.
      image_shape: height, width, channels.
    """
    title = f"Attention of {query_name(model.pool)} on all test images"
    common = share_in_common(moments.mean, moments.mean_square)
    largest = float(moments.mean.max())
    grid = model.grid(image_shape)
    rows = [
        [
            {
                "picture": map_url(weights.reshape(grid), largest),
                "common": share,
                "place": describe_maximum(weights.reshape(grid)),
            }
            for weights, share in zip(*layer, strict=True)
        ]
        for layer in zip(moments.mean, common.tolist(), strict=True)
    ]
    size = sum(len(tile["picture"]) for row in rows for tile in row)
    data: dict[str, Any] = {
        "rows": rows if size <= MAX_CHARACTERS else None,
        "aspect": image_shape[1] / image_shape[0],
        "max": largest,
        "count": int(moments.count),
        "heads": common.size,
        "nearly_all": NEARLY_ALL,
        "same": int((common >= NEARLY_ALL).sum()),
        "most": [int(n) + 1 for n in np.unravel_index(common.argmax(), common.shape)],
        "least": [int(n) + 1 for n in np.unravel_index(common.argmin(), common.shape)],
        "range": [float(common.min()), float(common.max())],
    }
    return Panel("mean_attention", title, data)


def map_url(weights: np.ndarray, largest: float) -> str:
    """Return the data URL of a picture with a pixel for each patch, coloured as in the explorer.

    Args:
      weights: [rows, columns].
      largest: the weight of the last colour; the place of others is the square root of their share.
    """
    colors = colormaps[COLORMAP](np.sqrt(weights / (largest or 1.0)))
    return image_url(np.rint(255 * colors[..., :3]).astype(np.uint8))


def describe_maximum(weights: np.ndarray) -> str:
    """Return in words which patch gets the most attention of weights [rows, columns]."""
    row, column = np.unravel_index(weights.argmax(), weights.shape)
    value = 100 * weights.max()
    number = f"{value:.0f}" if value >= 10 else f"{value:.2g}"  # of many patches each has little
    return f"{number} % to row {row + 1}, column {column + 1}"
