"""The figures that the page embeds, each with a title and a caption."""

import dataclasses
from pathlib import Path

from vit_hk.report.pictures import data_url
from vit_hk.report.reading import read_png

MAX_CHARACTERS = 1_300_000  # of the data URLs of all figures


@dataclasses.dataclass(frozen=True)
class GalleryFigure:
    """A figure: the stage that draws it, the name of its file, its title and its caption."""

    stage: str
    name: str
    title: str
    caption: str


GALLERY = (
    GalleryFigure(
        "report", "faithfulness.png", "Faithfulness of attribution maps",
        "Probability of the predicted class while patches are deleted from the image, or inserted "
        "into it, in the order of each map.",
    ),
    GalleryFigure(
        "attention", "class_maps.png", "Rollout and relevance",
        "Rollout shows from which patches information can reach the pooled token, whatever "
        "the class. Relevance attributes the predicted class, and the true class, to patches.",
    ),
    GalleryFigure(
        "attention", "right_wrong.png", "Relevance in mistakes",
        "Each mistake between correctly classified images of its true and of its predicted class, "
        "with the relevance for a class.",
    ),
    GalleryFigure(
        "attention", "any_patch.png", "Attention between patches",
        "Attention of each patch of the first image to all patches, in the last layer in which "
        "patch queries affect the prediction.",
    ),
    GalleryFigure(
        "attention", "distance.png", "Attention distance of the heads",
        "Mean distance in pixels between a query patch and the patches it attends to, for each "
        "layer and head.",
    ),
    GalleryFigure(
        "attention", "entropy.png", "Attention entropy of the heads",
        "Entropy of the attention in nats, for each layer and head: 0 if all attention goes to one "
        "token, largest if it is uniform.",
    ),
    GalleryFigure(
        "attention", "token_shares.png", "Attention by kind of token",
        "Attention to the class token, to registers and to patches, layer by layer.",
    ),
    GalleryFigure(
        "attention", "positions.png", "Positional embeddings",
        "Cosine similarity between the embedding of each position and those of all positions.",
    ),
    GalleryFigure(
        "attention", "filters.png", "Filters of the patch embedding",
        "Principal components of the filters; with a convolutional stem, the kernels of its first "
        "convolution.",
    ),
    GalleryFigure(
        "report", "snapshots.png", "Attention during training",
        "The last layer's attention on the same validation images after several epochs.",
    ),
)  # fmt: skip


def read_gallery(attention: Path, figures: Path) -> list[tuple[GalleryFigure, Path, str]]:
    """Read the figures of the gallery.

    Args:
      attention: the folder into which the stage `attention` draws.
      figures: the folder into which the stage `report` draws.

    Returns:
      Each figure with its path and its data URL; the URL is empty where it would make the page
      too large.

    Raises:
      UserError: a figure is missing or damaged.
    """
    folders = {"attention": attention, "report": figures}
    gallery, budget = [], MAX_CHARACTERS
    for figure in GALLERY:
        path = folders[figure.stage] / figure.name
        url = data_url(read_png(path, figure.stage))
        fits = len(url) <= budget
        budget -= len(url) if fits else 0
        gallery.append((figure, path, url if fits else ""))
    return gallery
