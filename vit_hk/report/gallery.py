"""The figures of other stages, embedded, with what they show in words."""

import dataclasses
from pathlib import Path

from vit_hk.report.pictures import data_url
from vit_hk.report.reading import read_png

MOST_SHOWN = 1_300_000  # characters of all figures


@dataclasses.dataclass(frozen=True)
class Figure:
    """A figure: where it lies, the stage that draws it, its heading, and what it shows."""

    path: Path
    stage: str
    title: str
    caption: str


FIGURES = (
    Figure(
        Path("results/faithfulness.png"), "evaluate", "Which map names what counts",
        "Probability of the predicted class while patches are taken away or put back in the order "
        "of each map.",
    ),
    Figure(
        Path("results/attention/class_maps.png"), "attention", "Rollout and relevance",
        "What could have reached the classified token, and which patches speak for the predicted "
        "and for the true class.",
    ),
    Figure(
        Path("results/attention/right_wrong.png"), "attention", "Mistakes beside the recognized",
        "Relevance of mistakes between the surest images of both classes.",
    ),
    Figure(
        Path("results/attention/any_patch.png"), "attention", "From any patch to any patch",
        "Where each patch of the first image looks, in the last layer in which it counts.",
    ),
    Figure(
        Path("results/attention/distance.png"), "attention", "How far heads look",
        "Mean distance between a patch and those it looks at, in pixels, for each layer and head.",
    ),
    Figure(
        Path("results/attention/entropy.png"), "attention", "How spread out heads are",
        "Entropy of the attention in nats, for each layer and head.",
    ),
    Figure(
        Path("results/attention/token_shares.png"), "attention", "What heads look at",
        "How attention divides between the kinds of tokens, layer by layer.",
    ),
    Figure(
        Path("results/attention/positions.png"), "attention", "Positional embeddings",
        "Cosine similarity of each position with all others.",
    ),
    Figure(
        Path("results/attention/filters.png"), "attention", "Filters of the patch embedding",
        "The main directions in which they differ; of a convolutional stem, its first kernels.",
    ),
    Figure(
        Path("results/snapshots.png"), "train", "While the model learns",
        "The last layer's attention on the same validation images after some epochs.",
    ),
)  # fmt: skip


def read_figures() -> list[tuple[Figure, str]]:
    """Each figure with its address; an empty one for those that the page has no room for.

    Raises:
      UserError: a figure is missing or damaged.
    """
    figures, room = [], MOST_SHOWN
    for figure in FIGURES:
        address = data_url(read_png(figure.path, figure.stage))
        fits = len(address) <= room
        room -= len(address) if fits else 0
        figures.append((figure, address if fits else ""))
    return figures
