"""The images that the model is wrong about."""

import numpy as np
from matplotlib.figure import Figure

from vit_hk.figures.images import displayable


def draw_mistakes(
    images: np.ndarray,
    *,
    actual: list[str],
    predicted: list[str],
    confidence: np.ndarray,
    indices: np.ndarray,
) -> Figure:
    """The most confident mistakes, each with both classes.

    Args:
      images: uint8 [N, height, width, channels].
      actual: N class names.
      predicted: N class names.
      confidence: [N], probability of the predicted class.
      indices: int [N], numbers of the images in the test set.
    """
    columns = 6
    rows = max(1, -(-len(images) // columns))
    figure = Figure(figsize=(1.75 * columns, 2.3 * rows + 0.6), layout="constrained")
    figure.suptitle(
        "The most confident mistakes on test images"
        if len(images)
        else "No mistakes on the test images"
    )
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid:
        axes.axis("off")
    for axes, image, label, guess, sure, index in zip(
        grid, images, actual, predicted, confidence, indices, strict=False
    ):
        axes.imshow(displayable(image))
        title = f"is {label}\npredicted {guess} ({100 * sure:.0f} %)\ntest image {index}"
        axes.set_title(title, fontsize=8)
    return figure
