"""A figure of misclassified images."""

import numpy as np
from matplotlib.figure import Figure

from vit_hk.figures.images import to_rgb
from vit_hk.figures.text import extra_height, fit_name

COLUMNS = 6
COLUMN_INCHES = 1.75
FONT_SIZE = 8


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
      images: uint8 [mistakes, height, width, channels], by falling confidence.
      actual: name of the true class of each.
      predicted: name of the predicted class of each.
      confidence: [mistakes], probability of the predicted class.
      indices: int [mistakes], positions of the images in the test set.
    """
    titles = [
        f"{_fit('true {}', label)}\n"
        f"{_fit(f'predicted {{}} ({100 * probability:.0f} %)', guess)}\n"
        f"test image {index}"
        for label, guess, probability, index in zip(
            actual, predicted, confidence, indices, strict=True
        )
    ]
    rows = [titles[start : start + COLUMNS] for start in range(0, len(titles), COLUMNS)]
    num_rows = max(1, len(rows))
    height = 2.3 * num_rows + 0.6 + extra_height(rows, usual_lines=3, font_size=FONT_SIZE)
    figure = Figure(figsize=(COLUMN_INCHES * COLUMNS, height), layout="constrained")
    figure.suptitle(
        "The most confident mistakes on test images"
        if len(images)
        else "No mistakes on the test images"
    )
    grid = figure.subplots(num_rows, COLUMNS, squeeze=False).ravel()
    for axes in grid:
        axes.axis("off")
    for axes, image, title in zip(grid, images, titles, strict=False):
        axes.imshow(to_rgb(image))
        axes.set_title(title, fontsize=FONT_SIZE)
    return figure


def _fit(template: str, name: str) -> str:
    return fit_name(template, name, COLUMN_INCHES - 0.1, FONT_SIZE, max_lines=2)
