"""The data of the attention explorer, which the script of the page reads."""

import base64
import dataclasses

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_hex

from vit_hk.data.dataset import Dataset
from vit_hk.explain.attention_arrays import AttentionArrays
from vit_hk.explain.methods import CLASS_INDEPENDENT, normalize_maps
from vit_hk.explain.patch_attention import patch_attention, query_name
from vit_hk.figures.faithfulness import STYLES
from vit_hk.figures.overlay import COLORMAP
from vit_hk.params import ModelSettings
from vit_hk.report.class_names import shorten_class_name
from vit_hk.report.explorer_images import choose_further_images, encode_pixels
from vit_hk.report.predictions import Predictions

MAX_IMAGE_CHARACTERS = 900_000  # of pixels, maps, and attention of the pooled token, where stored
MAX_TOKEN_ATTENTION_CHARACTERS = 1_600_000  # of the attention of all tokens of all images
MAX_UINT16 = 65535
PALETTE_SIZE = 256  # colours


@dataclasses.dataclass(frozen=True)
class ExplorerImage:
    """A test image; where they are stored, its attention and maps as `encode_uint16` writes them.

    Attributes:
      index: position in the test set.
      label: true class.
      predicted: predicted class.
      confidence: probability of the predicted class.
      pixels: uint8 [height, width, channels], in base64.
      pooled_attention: [L, H, N], from the pooled token to each patch; empty where the page is to
        compute the attention.
      maps: [K, N], in the order of `Explorer.maps`; each map sums to 1.
      token_attention: [L, H, T, N], from each token to each patch; empty where it would make the
        page too large.
    """

    index: int
    label: int
    predicted: int
    confidence: float
    pixels: str
    pooled_attention: str = ""
    maps: str = ""
    token_attention: str = ""


@dataclasses.dataclass(frozen=True)
class ExplorerMap:
    """An attribution map over all layers.

    Attributes:
      key: its short name, for addresses.
      name: its name in a sentence.
      score: faithfulness of its method on test images; None where it was not measured.
      score_error: its standard error; 0 where it is not known.
    """

    key: str
    name: str
    score: float | None
    score_error: float = 0.0


@dataclasses.dataclass(frozen=True)
class Explorer:
    """All images of the explorer, and what they have in common.

    Attributes:
      rows: number of rows of patches.
      columns: number of columns of patches.
      layers: number of layers.
      heads: number of heads of a layer.
      image_shape: height, width, channels.
      class_names: names of all classes, shortened.
      query_name: name of the pooled token.
      other_tokens: the tokens that are not patches, in words.
      prefix_tokens: names of the tokens before the patches, in their order.
      maps: the attribution maps.
      best_map: key of the map with the best faithfulness, with which the explorer opens; None
        where none was measured.
      brightness_score: faithfulness of the order that begins with the brightest patch, which
        needs no model; None where it was not measured.
      palette: colours of shares, from 0 to the maximum.
      images: the images that the page has room for.
    """

    rows: int
    columns: int
    layers: int
    heads: int
    image_shape: list[int]
    class_names: list[str]
    query_name: str
    other_tokens: str
    prefix_tokens: list[str]
    maps: list[ExplorerMap]
    best_map: str | None
    brightness_score: float | None
    palette: list[str]
    images: list[ExplorerImage]

    def with_stored_attention_only(self) -> "Explorer":
        """Return the explorer without the images whose attention the page would compute."""
        stored = [image for image in self.images if image.pooled_attention]
        return dataclasses.replace(self, images=stored)

    def without_token_attention(self) -> "Explorer":
        """Return the explorer with the attention of the pooled token only."""
        images = [dataclasses.replace(image, token_attention="") for image in self.images]
        return dataclasses.replace(self, images=images)


def make_explorer(
    arrays: AttentionArrays,
    dataset: Dataset,
    predictions: Predictions,
    model: ModelSettings,
    faithfulness: dict[str, float],
    errors: dict[str, float],
) -> Explorer:
    """Encode as many images as the page has room for.

    Args:
      arrays: attention and maps.
      dataset: holds the test images.
      predictions: the predictions for the test images.
      model: the architecture.
      faithfulness: score of each attribution method, by name.
      errors: standard errors of these scores.
    """
    layers, _, heads = arrays.attention.shape[:3]
    maps, normalized = _list_maps(arrays, faithfulness, errors)
    rows, columns = model.grid(dataset.image_shape)
    class_token = ["the class token"] if model.pool == "cls" else []
    registers = [f"register {number + 1}" for number in range(model.registers)]
    stored = _encode_images(arrays, model, normalized)
    further = _encode_further_images(dataset, predictions, np.array([x.index for x in stored], int))
    return Explorer(
        rows=rows,
        columns=columns,
        layers=layers,
        heads=heads,
        image_shape=list(dataset.image_shape),
        class_names=[shorten_class_name(name) for name in dataset.class_names],
        query_name=query_name(model.pool),
        other_tokens=_describe_other_tokens(model),
        prefix_tokens=class_token + registers,
        maps=maps,
        best_map=_best_map(maps),
        brightness_score=faithfulness.get("brightness"),
        palette=[to_hex(color) for color in colormaps[COLORMAP](np.linspace(0, 1, PALETTE_SIZE))],
        images=[*stored, *further],
    )


def image_without_attention(
    dataset: Dataset, predictions: Predictions, index: int
) -> ExplorerImage:
    """Encode a test image whose attention the page computes."""
    return ExplorerImage(
        index=index,
        label=int(dataset.y_test[index]),
        predicted=int(predictions.classes[index]),
        confidence=round(float(predictions.confidence[index]), 4),
        pixels=encode_pixels(dataset.x_test[index]),
    )


def encode_uint16(shares: np.ndarray) -> str:
    """Encode shares from 0 to 1 as little-endian 16-bit integers in base64, exact to 0.001 %."""
    integers = np.rint(np.clip(shares, 0, 1) * MAX_UINT16).astype("<u2")
    return base64.b64encode(integers.tobytes()).decode("ascii")


def _encoded_size(shares: np.ndarray) -> int:
    return 4 * -(-2 * shares.size // 3)


def _encode_images(
    arrays: AttentionArrays, model: ModelSettings, maps: np.ndarray
) -> list[ExplorerImage]:
    """Encode images until the page has no more room; `maps` is [K, B, N]."""
    patches = maps.shape[-1]
    classified = patch_attention(arrays.attention, patches, model.pool)  # [L, B, H, N]
    images: list[ExplorerImage] = []
    budget, token_budget = MAX_IMAGE_CHARACTERS, MAX_TOKEN_ATTENTION_CHARACTERS
    for number, probabilities in enumerate(arrays.probabilities):
        # The size is compared before encoding: with small patches, the attention of all tokens
        # takes a hundred times the room of the page.
        token_attention = arrays.attention[:, number, :, :, -patches:]
        fits = _encoded_size(token_attention) <= token_budget
        image = ExplorerImage(
            index=int(arrays.indices[number]),
            label=int(arrays.labels[number]),
            predicted=int(probabilities.argmax()),
            confidence=round(float(probabilities.max()), 4),
            pixels=encode_pixels(arrays.images[number]),
            pooled_attention=encode_uint16(classified[:, number]),
            maps=encode_uint16(maps[:, number]),
            token_attention=encode_uint16(token_attention) if fits else "",
        )
        budget -= len(image.pixels) + len(image.pooled_attention) + len(image.maps)
        if budget < 0:
            break
        token_budget -= len(image.token_attention)
        images.append(image)
    return images


def _encode_further_images(
    dataset: Dataset, predictions: Predictions, stored: np.ndarray
) -> list[ExplorerImage]:
    return [
        image_without_attention(dataset, predictions, index)
        for index in choose_further_images(dataset, predictions.classes, stored)
    ]


def _list_maps(
    arrays: AttentionArrays, faithfulness: dict[str, float], errors: dict[str, float]
) -> tuple[list[ExplorerMap], np.ndarray]:
    """Return what each map is, and the maps [K, B, N], which sum to 1.

    A method that depends on the class has two maps, for the predicted and for the true class.
    """
    listed: list[ExplorerMap] = []
    maps = []
    for method, predicted, actual in zip(
        arrays.methods.tolist(), arrays.maps, arrays.maps_true, strict=True
    ):
        name, score = STYLES[method].label, faithfulness.get(method)
        error = errors.get(method, 0.0)
        if method in CLASS_INDEPENDENT:
            listed.append(ExplorerMap(method, name, score, error))
            maps.append(predicted)
        else:
            # Faithfulness was measured for the predicted class.
            listed += [
                ExplorerMap(method, f"{name} for the predicted class", score, error),
                ExplorerMap(f"{method}-true", f"{name} for the true class", None),
            ]
            maps += [predicted, actual]
    return listed, normalize_maps(np.stack(maps))


def _best_map(maps: list[ExplorerMap]) -> str | None:
    """Return the key of the map with the best score; the first one of equal scores."""
    measured = [(map_.score, map_.key) for map_ in maps if map_.score is not None]
    return max(measured, key=lambda pair: pair[0])[1] if measured else None


def _describe_other_tokens(model: ModelSettings) -> str:
    """Return the tokens that are not patches in words, or an empty text if there are none."""
    parts = ["the class token"] if model.pool == "cls" else []
    if model.registers:
        parts.append("1 register" if model.registers == 1 else f"{model.registers} registers")
    return " and ".join(parts)
