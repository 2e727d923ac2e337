"""A figure of misclassified images."""

import numpy as np
from matplotlib.figure import Figure

from vit_hk.figures.images import to_rgb

COLUMNS = 6


def draw_mistakes(
    images: np.ndarray,
    *,
    actual: list[str],
    predicted: list[str],
    confidence: np.ndarray,
    indices: np.ndarray,
) -> Figure:
    """Draw misclassified test images, each with its true and its predicted class.

    Args:
      images: uint8 [K, height, width, channels], by falling confidence.
      actual: K names of true classes.
      predicted: K names of predicted classes.
      confidence: [K], probability of the predicted class.
      indices: int [K], positions of the images in the test set.
    """
    rows = max(1, -(-len(images) // COLUMNS))
    figure = Figure(figsize=(1.75 * COLUMNS, 2.3 * rows + 0.6), layout="constrained")
    figure.suptitle(
        "The most confident mistakes on test images"
        if len(images)
        else "No mistakes on the test images"
    )
    grid = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for axes in grid:
        axes.axis("off")
    for axes, image, label, guess, probability, index in zip(
        grid, images, actual, predicted, confidence, indices, strict=False
    ):
        axes.imshow(to_rgb(image))
        title = f"true {label}\npredicted {guess} ({100 * probability:.0f} %)\ntest image {index}"
        axes.set_title(title, fontsize=8)
    return figure
