"""The data of the attention explorer, which the script of the page reads."""

import base64
import dataclasses

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_hex

from vit_hk.explain.attention_arrays import AttentionArrays
from vit_hk.explain.methods import normalize_maps
from vit_hk.explain.patch_attention import patch_attention, query_name
from vit_hk.figures.faithfulness import STYLES
from vit_hk.figures.overlay import ALPHA, COLORMAP
from vit_hk.params import ModelSettings
from vit_hk.report.pictures import image_url

MAX_IMAGE_CHARACTERS = 900_000  # of all pictures, maps, and attention of the pooled token
MAX_TOKEN_ATTENTION_CHARACTERS = 1_900_000  # of the attention of all tokens of all images
MAX_UINT16 = 65535
PALETTE_SIZE = 64  # colours


@dataclasses.dataclass(frozen=True)
class ExplorerImage:
    """A test image with its attention and maps, as numbers that `encode_uint16` has encoded.

    Attributes:
      index: position in the test set.
      label: true class.
      predicted: predicted class.
      confidence: probability of the predicted class.
      picture: data URL of the image.
      pooled_attention: [L, H, N], from the pooled token to each patch.
      maps: [K, N], in the order of `Explorer.map_names`; each map sums to 1.
      token_attention: [L, H, T, N], from each token to each patch; empty where it would make the
        page too large.
    """

    index: int
    label: int
    predicted: int
    confidence: float
    picture: str
    pooled_attention: str
    maps: str
    token_attention: str


@dataclasses.dataclass(frozen=True)
class Explorer:
    """All images of the explorer, and what they have in common.

    Attributes:
      rows: number of rows of patches.
      columns: number of columns of patches.
      layers: number of layers.
      heads: number of heads of a layer.
      query_name: name of the pooled token.
      other_tokens: the tokens that are not patches, in words.
      prefix_tokens: names of the tokens before the patches, in their order.
      map_names: names of K attribution maps.
      scores: faithfulness of the method of each map; None where it was not measured.
      palette: colours of shares, from 0 to the maximum.
      alpha: opacity of a map over its image.
      images: the images that the page has room for.
    """

    rows: int
    columns: int
    layers: int
    heads: int
    query_name: str
    other_tokens: str
    prefix_tokens: list[str]
    map_names: list[str]
    scores: list[float | None]
    palette: list[str]
    alpha: float
    images: list[ExplorerImage]


def make_explorer(
    arrays: AttentionArrays, model: ModelSettings, faithfulness: dict[str, float]
) -> Explorer:
    """Encode as many images as the page has room for.

    Args:
      arrays: attention and maps.
      model: the architecture.
      faithfulness: score of each attribution method, by name.
    """
    layers, _, heads = arrays.attention.shape[:3]
    maps, normalized = _list_maps(arrays)
    rows, columns = model.grid(arrays.images.shape[1:])
    class_token = ["the class token"] if model.pool == "cls" else []
    registers = [f"register {number + 1}" for number in range(model.registers)]
    return Explorer(
        rows=rows,
        columns=columns,
        layers=layers,
        heads=heads,
        query_name=query_name(model.pool),
        other_tokens=_describe_other_tokens(model),
        prefix_tokens=class_token + registers,
        map_names=[text for _, text in maps],
        scores=[faithfulness.get(method) for method, _ in maps],
        palette=[to_hex(color) for color in colormaps[COLORMAP](np.linspace(0, 1, PALETTE_SIZE))],
        alpha=ALPHA,
        images=_encode_images(arrays, model, normalized),
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
            picture=image_url(arrays.images[number]),
            pooled_attention=encode_uint16(classified[:, number]),
            maps=encode_uint16(maps[:, number]),
            token_attention=encode_uint16(token_attention) if fits else "",
        )
        budget -= len(image.picture) + len(image.pooled_attention) + len(image.maps)
        if budget < 0:
            break
        token_budget -= len(image.token_attention)
        images.append(image)
    return images


def _list_maps(arrays: AttentionArrays) -> tuple[list[tuple[str, str]], np.ndarray]:
    """Return the method and the name of each map, and the maps [K, B, N], which sum to 1.

    A method that depends on the class has two maps, for the predicted and for the true class.
    """
    names: list[tuple[str, str]] = []
    maps = []
    for method, predicted, actual in zip(
        arrays.methods.tolist(), arrays.maps, arrays.maps_true, strict=True
    ):
        text = STYLES[method].label
        if np.array_equal(predicted, actual):
            names.append((method, text))
            maps.append(predicted)
        else:
            names += [
                (method, f"{text} for the predicted class"),
                (method, f"{text} for the true class"),
            ]
            maps += [predicted, actual]
    return names, normalize_maps(np.stack(maps))


def _describe_other_tokens(model: ModelSettings) -> str:
    """Return the tokens that are not patches in words, or an empty text if there are none."""
    parts = ["the class token"] if model.pool == "cls" else []
    if model.registers:
        parts.append("1 register" if model.registers == 1 else f"{model.registers} registers")
    return " and ".join(parts)
