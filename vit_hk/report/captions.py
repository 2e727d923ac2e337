"""The figures that the page embeds, each with a title and a caption."""

import dataclasses
from pathlib import Path

from vit_hk.report.pictures import data_url
from vit_hk.report.reading import read_png

MAX_CHARACTERS = 1_700_000  # of the data URLs of all figures


@dataclasses.dataclass(frozen=True)
class GalleryFigure:
    """A figure of the page.

    Attributes:
      stage: the stage that draws it.
      name: of its file.
      title: what it shows.
      caption: what is drawn in it.
      reading: how to read it, and what not to conclude from it.
    """

    stage: str
    name: str
    title: str
    caption: str
    reading: str


GALLERY = (
    GalleryFigure(
        "report", "corruptions.png", "Accuracy on corrupted images",
        "The share of a sample of the test images that are still classified correctly when they "
        "are corrupted, more and more; on the right the first test image with each corruption.",
        "A line that stays high means that the corruption hardly matters to the model; compare "
        "its severities with the images on the right, and with what you could still read. The "
        "severities of two corruptions are not equally hard, so compare models on one corruption, "
        "rather than corruptions. Translations within those of the training "
        "(train.augment.shift) are no corruption to this model. Strokes are bright areas, which "
        "grow and shrink in photos too. Bands are one standard error. "
        "These figures are a report: a model chosen by them needs other test images.",
    ),
    GalleryFigure(
        "report", "faithfulness.png", "Faithfulness of attribution maps",
        "Probability of the predicted class while patches are deleted from the image, or inserted "
        "into it, in the order of each map.",
        "A faithful map ranks first the patches on which the prediction depends: its deletion "
        "curve falls early, its insertion curve rises early. The score is the area under "
        "insertion minus the area under deletion: at most 1, about 0 for a random order, negative "
        "for an order that ranks important patches last. Compare with the grey reference "
        "orders: a map that does not beat the brightness of the patches tells little about the "
        "model.",
    ),
    GalleryFigure(
        "attention", "class_maps.png", "Rollout and relevance",
        "Rollout shows from which patches information can reach the token that is classified (or "
        "the mean of the patches), whatever the class. Relevance attributes the predicted class, "
        "and the true class, to patches.",
        "Each map sums to 1. A mistake has two relevance maps: what speaks for the predicted "
        "class, and what speaks for the true one. Rollout is the same for all classes, ignores "
        "signs and values, and is closer to uniform; so it has a colour scale of its own. "
        "Evidence against a class is in none of them.",
    ),
    GalleryFigure(
        "attention", "right_wrong.png", "Relevance in mistakes",
        "Each mistake between correctly classified images of its true and of its predicted class, "
        "with the relevance for a class.",
        "A row is one mistake, shown twice in the middle: with the relevance for its true class, "
        "and for the class that was predicted. The outer images are confident correct examples of "
        "these classes. Look for a patch that the mistake shares with one of them. One image is "
        "no proof.",
    ),
    GalleryFigure(
        "attention", "any_patch.png", "Attention between patches",
        "Attention of each patch of the first image to all patches, in the last layer in which "
        "patch queries affect the prediction. A model of one layer with a class token has none; "
        "then it is that layer.",
        "Each tile has one query patch, in the orange frame. Tiles that look alike mean that all "
        "patches attend to the same places; tiles that differ mean that the content or the "
        "position of the query patch matters. The figure does not tell which of the two.",
    ),
    GalleryFigure(
        "attention", "distance.png", "Attention distance of the heads",
        "Mean distance in pixels between a query patch and the patches it attends to, for each "
        "layer and head.",
        "A point is a head. Near 0 it attends to its own neighbourhood, like a small convolution; "
        "on the dashed line it is as far-reaching as uniform attention; above it, it prefers "
        "distant patches. A head on the line need not be uniform: entropy tells. In the last layer "
        "of a model with a class token, nothing reads what patches attend to.",
    ),
    GalleryFigure(
        "attention", "entropy.png", "Attention entropy of the heads",
        "Entropy of the attention in nats, for each layer and head: 0 if all attention goes to "
        "one token, largest if it is uniform.",
        "A point is a head. The dashed line is the maximum, uniform attention over all tokens. A "
        "low point attends sharply to few tokens. Sharp does not mean important: the prediction "
        "need not depend on those tokens. In the last layer, only the query that is classified is "
        "read: the class token, or the patches where their mean is classified.",
    ),
    GalleryFigure(
        "attention", "token_shares.png", "Attention by kind of token",
        "Attention to the class token, to registers and to patches, layer by layer.",
        "A bar is the attention of one kind of query token in one layer, divided by the kind of "
        "token that gets it. Dashed lines show uniform attention. A kind that gets far more than "
        "that may hold what other tokens use, as registers are meant to, or take attention that "
        "has no use elsewhere; the figure does not tell which of the two. In the last layer, only "
        "bars of the query that is classified matter.",
    ),
    GalleryFigure(
        "attention", "positions.png", "Positional embeddings",
        "Cosine similarity between the embedding of each position and those of all positions.",
        "A tile shows how similar the position in the orange frame is to all positions: red is "
        "similar, blue opposite, white unrelated. Learned embeddings start as noise, or as those "
        "of a weights file (train.init_from): where rows or columns stand out, they reflect "
        "coordinates. Those of sincos2d are fixed.",
    ),
    GalleryFigure(
        "attention", "filters.png", "Filters of the patch embedding",
        "Principal components of the filters; with a convolutional stem, the kernels of its first "
        "convolution.",
        "The first components explain the most of the differences between filters. In a trained "
        "model they are usually smooth (bars, edges, corners), and the last ones resemble noise. "
        "Their sign is arbitrary, so red and blue may be exchanged. In colour images grey is 0.",
    ),
    GalleryFigure(
        "report", "snapshots.png", "Attention during training",
        "The last layer's attention on the same validation images after each epoch of "
        "train.snapshot_epochs, and after the last one.",
        "A row is an image, a column an epoch; above each map are the predicted class and its "
        "probability. Where maps keep changing although predictions no longer do, a single map is "
        "not to be interpreted. A single column means that only the last epoch was recorded.",
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
