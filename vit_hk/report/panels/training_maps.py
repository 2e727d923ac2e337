"""The panel of the attention during training, with a slider over the epochs."""

import dataclasses

import numpy as np

from vit_hk.explain.patch_attention import query_name
from vit_hk.params import ModelSettings
from vit_hk.report.explorer import encode_uint16
from vit_hk.report.explorer_images import encode_pixels
from vit_hk.report.panels.panel import Panel
from vit_hk.report.snapshots import Snapshots

MAX_CHARACTERS = 150_000  # of the attention and the pixels


@dataclasses.dataclass(frozen=True)
class TrainingMaps:
    """Attention from the pooled token to the patches at several epochs; see training_maps.js.

    Attributes:
      rows, columns: of patches.
      layers, heads: their numbers.
      query_name: name of the pooled token.
      epochs: S numbers of epochs, rising.
      labels: B true classes.
      predicted: [S, B] classes.
      confidence: [S, B] probabilities of them.
      pixels: the B images, encoded by `encode_pixels`.
      attention: [S, L, B, H, N], encoded by `encode_uint16`.
    """

    rows: int
    columns: int
    layers: int
    heads: int
    query_name: str
    epochs: list[int]
    labels: list[int]
    predicted: list[list[int]]
    confidence: list[list[float]]
    pixels: list[str]
    attention: str


def training_panel(snapshots: Snapshots, model: ModelSettings) -> Panel:
    """Make the panel of the snapshots; without data where these would make the page too large.

    Args:
      snapshots: the attention that was recorded during training.
      model: the architecture.
    """
    rows, columns = model.grid(snapshots.images.shape[1:])
    maps = TrainingMaps(
        rows=rows,
        columns=columns,
        layers=model.num_layers,
        heads=model.num_heads,
        query_name=query_name(model.pool),
        epochs=snapshots.epochs.tolist(),
        labels=snapshots.labels.tolist(),
        predicted=snapshots.probabilities.argmax(axis=-1).tolist(),
        confidence=np.round(snapshots.probabilities.max(axis=-1).astype(float), 4).tolist(),
        pixels=[encode_pixels(image) for image in snapshots.images],
        attention=encode_uint16(snapshots.attention),
    )
    fits = len(maps.attention) + sum(map(len, maps.pixels)) <= MAX_CHARACTERS
    return Panel(
        "training_maps", "Attention during training", dataclasses.asdict(maps) if fits else None
    )
