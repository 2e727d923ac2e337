"""Every figure that shows class names, drawn for any names over random colour images."""

from collections.abc import Callable

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from vit_hk.figures.class_maps import draw_class_maps
from vit_hk.figures.confusion import draw_confusion
from vit_hk.figures.mistakes import draw_mistakes
from vit_hk.figures.overview import draw_overview
from vit_hk.figures.per_class import draw_per_class
from vit_hk.figures.right_wrong import draw_right_wrong
from vit_hk.figures.sheet import draw_sheet
from vit_hk.figures.snapshots import draw_snapshots

QUERY = "the class token"
Shape = tuple[int, int]  # height and width of an image
SQUARE = (32, 32)


def images_and_maps(
    count: int, num_maps: int, shape: Shape = SQUARE
) -> tuple[np.ndarray, np.ndarray]:
    """Return images [count, *shape, 3] and maps [num_maps, count, 4, 4], which sum to 1."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (count, *shape, 3), dtype=np.uint8)
    maps = random.dirichlet(np.ones(16), (num_maps, count))
    return images, maps.reshape(num_maps, count, 4, 4)


def confused_pairs(names: list[str]) -> list[tuple[str, str]]:
    """Return a pair of classes for each class: every second one is predicted as the next class."""
    return [(names[(n + n % 2) % len(names)], name) for n, name in enumerate(names)]


def sheet(names: list[str], shape: Shape = SQUARE) -> Figure:
    images, maps = images_and_maps(1, 6, shape)
    return draw_sheet(
        images[0], maps.reshape(2, 3, 4, 4), index=12, actual=names[0], predicted=names[1],
        probability=0.98, query_name=QUERY, num_tokens=17,
    )  # fmt: skip


def overview(names: list[str], shape: Shape = SQUARE) -> Figure:
    images, maps = images_and_maps(len(names), 1, shape)
    return draw_overview(images, maps[0], confused_pairs(names), QUERY)


def class_maps(names: list[str], shape: Shape = SQUARE) -> Figure:
    images, maps = images_and_maps(len(names), 3, shape)
    return draw_class_maps(images, *maps, confused_pairs(names))


def right_wrong(names: list[str], shape: Shape = SQUARE) -> Figure:
    images, maps = images_and_maps(4 * 3, 1, shape)
    classes = [(names[n], names[n + 1]) for n in range(3)]
    return draw_right_wrong(
        images.reshape(3, 4, *shape, 3), maps.reshape(3, 4, 4, 4), classes, np.ones((3, 4), bool)
    )


def snapshots(names: list[str], shape: Shape = SQUARE) -> Figure:
    count, steps = min(3, len(names)), 4
    images, maps = images_and_maps(count, steps, shape)
    predicted = [[names[(n + step) % len(names)] for n in range(count)] for step in range(steps)]
    return draw_snapshots(
        images, maps, [1, 2, 4, 24], actual=names[:count], predicted=predicted,
        confidence=np.full((steps, count), 0.98), query_name=QUERY,
    )  # fmt: skip


def mistakes(names: list[str]) -> Figure:
    images, _ = images_and_maps(12, 1)
    return draw_mistakes(
        images,
        actual=[names[n % len(names)] for n in range(12)],
        predicted=[names[(n + 1) % len(names)] for n in range(12)],
        confidence=np.full(12, 0.98),
        indices=np.arange(12),
    )


def confusion(names: list[str]) -> Figure:
    return draw_confusion(np.eye(len(names), dtype=int) * 100 + 3, names)


ENDS = ("", "_low", "_high")  # of the columns of a score


def per_class(names: list[str]) -> Figure:
    scores = np.linspace(0.7, 1.0, len(names))
    columns = [f"{name}{end}" for name in ("precision", "recall", "f1") for end in ENDS]
    return draw_per_class(pd.DataFrame(dict.fromkeys(columns, scores)), names)


NAMED_FIGURES: dict[str, Callable[..., Figure]] = {
    function.__name__: function
    for function in (
        sheet, overview, class_maps, right_wrong, snapshots, mistakes, confusion, per_class,
    )
}  # fmt: skip
