"""What the explorer of attention needs: numbers that a script reads, small enough for a page."""

import base64
import dataclasses

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_hex

from vit_hk.explain.methods import shares
from vit_hk.explain.patch_attention import name_of_reader, patch_attention
from vit_hk.figures.overlay import ALPHA, COLORS
from vit_hk.params import ModelSettings
from vit_hk.report.explained import Explained
from vit_hk.report.pictures import image_url

MOST_FOR_IMAGES = 900_000  # characters: pictures, and maps as the classified token sees them
MOST_FOR_VIEWS = 1_900_000  # characters: maps as all other tokens see them
STEPS = 65535  # a share from 0 to 1 is kept in so many steps


@dataclasses.dataclass(frozen=True)
class ExploredImage:
    """One image. Numbers are shares, each as 16 bits, little-endian, in base64.

    Attributes:
      index: number in the test set.
      label: class.
      predicted: class.
      confidence: probability of the predicted class.
      picture: address of the image.
      reader: [L, H, N], from the token that is classified to each patch.
      methods: [K, N], in the order of `Explorer.methods`; each sums to 1.
      views: [L, H, T, N], from each token to each patch; empty where there is no room.
    """

    index: int
    label: int
    predicted: int
    confidence: float
    picture: str
    reader: str
    methods: str
    views: str


@dataclasses.dataclass(frozen=True)
class Explorer:
    """All images, and what is the same for them.

    Attributes:
      rows, columns: of patches.
      layers, heads: how many.
      reader: name of the token that is classified.
      others: the tokens that are no patch, in words.
      tokens: names of those that stand before the patches.
      methods: K names.
      scores: faithfulness of each method; None where it was not measured.
      palette: colours from the smallest to the largest share.
      alpha: how opaque a map lies over its image.
      images: those that there is room for.
    """

    rows: int
    columns: int
    layers: int
    heads: int
    reader: str
    others: str
    tokens: list[str]
    methods: list[str]
    scores: list[float | None]
    palette: list[str]
    alpha: float
    images: list[ExploredImage]


def make_explorer(
    explained: Explained, model: ModelSettings, faithfulness: dict[str, float]
) -> Explorer:
    """Pack as many images as there is room for, and of those as many views as there is room for."""
    layers, number, heads = explained.attention.shape[:3]
    patches = explained.maps.shape[-1]
    looked = patch_attention(explained.attention, patches, model.pool)  # [L, B, H, N]
    methods, maps = _with_both_classes(explained)
    images: list[ExploredImage] = []
    room, room_for_views = MOST_FOR_IMAGES, MOST_FOR_VIEWS
    for place in range(number):
        probabilities = explained.probabilities[place]
        # Not packed before there is room: with small patches it is a hundred times the page.
        views = explained.attention[:, place, :, :, -patches:]
        has_room = _packed_size(views) <= room_for_views
        image = ExploredImage(
            index=int(explained.indices[place]),
            label=int(explained.labels[place]),
            predicted=int(probabilities.argmax()),
            confidence=round(float(probabilities.max()), 4),
            picture=image_url(explained.images[place]),
            reader=pack(looked[:, place]),
            methods=pack(maps[:, place]),
            views=pack(views) if has_room else "",
        )
        room -= len(image.picture) + len(image.reader) + len(image.methods)
        if room < 0:
            break
        room_for_views -= len(image.views)
        images.append(image)
    class_token = ["the class token"] if model.pool == "cls" else []
    registers = [f"register {register + 1}" for register in range(model.registers)]
    rows, columns = model.grid(*explained.images.shape[1:3])
    return Explorer(
        rows=rows,
        columns=columns,
        layers=layers,
        heads=heads,
        reader=name_of_reader(model.pool),
        others=_other_tokens(model),
        tokens=class_token + registers,
        methods=[text for _, text in methods],
        scores=[faithfulness.get(name) for name, _ in methods],
        palette=[to_hex(color) for color in colormaps[COLORS].resampled(64)(range(64))],
        alpha=ALPHA,
        images=images,
    )


def pack(numbers: np.ndarray) -> str:
    """Shares from 0 to 1 in 16 bits each, exact to 0.001 %, as text."""
    steps = np.rint(np.clip(numbers, 0, 1) * STEPS).astype("<u2")
    return base64.b64encode(steps.tobytes()).decode("ascii")


def _packed_size(numbers: np.ndarray) -> int:
    return 4 * -(-2 * numbers.size // 3)


def _with_both_classes(explained: Explained) -> tuple[list[tuple[str, str]], np.ndarray]:
    """Methods as pairs of name and text, and their maps [K, B, N], each a share of its sum.

    A method that speaks for a class comes twice, for the predicted and for the true class.
    """
    names: list[tuple[str, str]] = []
    maps = []
    for name, predicted, actual in zip(
        explained.methods.tolist(), explained.maps, explained.maps_true, strict=True
    ):
        text = name.replace("_", " ")
        if np.array_equal(predicted, actual):
            names.append((name, text))
            maps.append(predicted)
        else:
            names += [
                (name, f"{text} for the predicted class"),
                (name, f"{text} for the true class"),
            ]
            maps += [predicted, actual]
    return names, shares(np.stack(maps))


def _other_tokens(model: ModelSettings) -> str:
    parts = ["the class token"] if model.pool == "cls" else []
    if model.registers:
        parts.append("1 register" if model.registers == 1 else f"{model.registers} registers")
    return " and ".join(parts)
