"""The heatmaps of the stage `attention`, with a function for each group of figures."""

import math
from typing import NamedTuple

import haiku as hk
import numpy as np

from stages import paths
from vit_hk.data.dataset import Dataset
from vit_hk.explain.attention_arrays import AttentionArrays
from vit_hk.explain.distance import patch_distances
from vit_hk.explain.filters import principal_filters
from vit_hk.explain.head_statistics import HeadStatistics
from vit_hk.explain.methods import normalize_maps
from vit_hk.explain.patch_attention import patch_attention, query_name
from vit_hk.explain.positions import cosine_similarity, patch_positions
from vit_hk.explain.token_shares import token_kinds
from vit_hk.figures.by_layer import draw_by_layer
from vit_hk.figures.class_maps import draw_class_maps
from vit_hk.figures.filters import draw_filters, draw_kernels
from vit_hk.figures.overlay import COLORMAP, color_scale, label_scale, linear_scale
from vit_hk.figures.overview import draw_overview
from vit_hk.figures.patch_grid import draw_patch_grid
from vit_hk.figures.right_wrong import draw_right_wrong
from vit_hk.figures.saving import remove_other_numbers, save_figure
from vit_hk.figures.sheet import draw_sheet
from vit_hk.figures.token_shares import draw_token_shares
from vit_hk.model.stem_layers import KERNEL_SIZE
from vit_hk.weights_metadata import WeightsInfo

MAX_FILTERS = 28  # components, as in the ViT paper, or kernels of the stem


class ExplainedMistakes(NamedTuple):
    """Mistakes between two correctly predicted images; see `mistakes_between_examples`."""

    indices: np.ndarray  # int [mistakes, 4], of test images; -1 where there is no image
    classes: np.ndarray  # int [mistakes, 4], the class whose logit is attributed to the patches
    relevance: np.ndarray  # [mistakes, 4, N]


def draw_images(arrays: AttentionArrays, class_names: list[str], info: WeightsInfo) -> None:
    """Draw the explained images: a sheet for each, their overview and their class maps."""
    attention = patch_attention(arrays.attention, info.num_patches, info.model.pool)
    maps = _on_grid(attention, info)  # [L, B, H, rows, columns]
    query = query_name(info.model.pool)
    predictions = arrays.probabilities.argmax(axis=-1)
    pairs = [
        (class_names[predicted], class_names[actual])
        for predicted, actual in zip(predictions, arrays.labels, strict=True)
    ]
    names = [f"{number:02d}.png" for number in range(1, len(pairs) + 1)]
    for number, (predicted, actual) in enumerate(pairs):
        sheet = draw_sheet(
            arrays.images[number],
            maps[:, number],
            index=int(arrays.indices[number]),
            actual=actual,
            predicted=predicted,
            probability=arrays.probabilities[number].max(),
            query_name=query,
            num_tokens=info.num_tokens,
        )
        save_figure(sheet, paths.ATTENTION_IMAGES / names[number])
    remove_other_numbers(paths.ATTENTION_IMAGES, names)
    overview = draw_overview(arrays.images, maps[-1].mean(axis=1), pairs, query)
    save_figure(overview, paths.ATTENTION / "overview.png")
    _draw_class_maps(arrays, pairs, info)
    _draw_attention_between_patches(arrays, info)


def _draw_class_maps(
    arrays: AttentionArrays, pairs: list[tuple[str, str]], info: WeightsInfo
) -> None:
    """Draw rollout and relevance of the explained images."""
    methods = arrays.methods.tolist()
    maps = _on_grid(normalize_maps(arrays.maps), info)  # [methods, B, rows, columns]
    maps_true = _on_grid(normalize_maps(arrays.maps_true), info)
    figure = draw_class_maps(
        arrays.images,
        maps[methods.index("rollout")],
        maps[methods.index("relevance")],
        maps_true[methods.index("relevance")],
        pairs,
    )
    save_figure(figure, paths.ATTENTION / "class_maps.png")


def _draw_attention_between_patches(arrays: AttentionArrays, info: WeightsInfo) -> None:
    """Draw the attention from each patch of the first image to all patches."""
    num_layers = len(arrays.attention)
    # With a class token, patch queries of the last layer do not influence the prediction.
    layer = num_layers - 1 if info.model.pool == "cls" and num_layers > 1 else num_layers
    patches = slice(-info.num_patches, None)
    between_patches = arrays.attention[layer - 1, 0].mean(axis=0)[patches, patches]  # [N, N]
    tiles = between_patches.reshape(*info.grid, *info.grid)
    figure = draw_patch_grid(
        tiles,
        f"Attention of each patch of test image {arrays.indices[0]} to all patches\n"
        f"in layer {layer} of {num_layers}, mean over heads",
        label_scale("attention weight (query: the patch in the frame)"),
        COLORMAP,
        color_scale(float(tiles.max())),
        arrays.images[0],
    )
    save_figure(figure, paths.ATTENTION / "any_patch.png")


def draw_mistakes(
    mistakes: ExplainedMistakes, dataset: Dataset, class_names: list[str], info: WeightsInfo
) -> None:
    """Draw each mistake between correctly predicted images of both classes."""
    pairs = [
        (class_names[predicted], class_names[true]) for true, predicted in mistakes.classes[:, 1:3]
    ]
    maps = _on_grid(normalize_maps(mistakes.relevance), info)
    images = dataset.x_test[mistakes.indices]
    figure = draw_right_wrong(images, maps, pairs, mistakes.indices >= 0)
    save_figure(figure, paths.ATTENTION / "right_wrong.png")


def draw_statistics(statistics: HeadStatistics, info: WeightsInfo, num_images: int) -> None:
    """Draw attention distance, attention entropy and the token shares of the heads."""
    uniform = float(patch_distances(info.grid, info.model.patch_size).mean())
    distance = draw_by_layer(
        statistics.distance,
        f"Attention distance of patches; mean over {num_images:,} test images",
        "mean distance (pixels)",
        "uniform attention",
        uniform,
    )
    save_figure(distance, paths.ATTENTION / "distance.png")
    entropy = draw_by_layer(
        statistics.entropy,
        f"Attention entropy; mean over {num_images:,} test images",
        "entropy (nats)",
        f"uniform attention over {info.num_tokens} tokens",
        math.log(info.num_tokens),
    )
    save_figure(entropy, paths.ATTENTION / "entropy.png")
    kinds = token_kinds(info.num_tokens, info.num_patches, info.model.pool)
    counts = np.bincount(kinds, minlength=3)
    figure = draw_token_shares(statistics.token_shares.mean(axis=1), counts, num_images)
    save_figure(figure, paths.ATTENTION / "token_shares.png")


def draw_weights(weights: hk.Params, info: WeightsInfo) -> None:
    """Draw the positional embeddings and the filters of the patch embedding or the stem."""
    similarity = cosine_similarity(patch_positions(weights, info.model, info.grid))
    kind = "learned" if info.model.position == "learned" else "fixed"
    figure = draw_patch_grid(
        similarity.reshape(*info.grid, *info.grid),
        f"Cosine similarity of the {kind} positional embeddings",
        "cosine similarity to the position in the frame",
        "RdBu_r",
        linear_scale(-1.0, 1.0),
    )
    save_figure(figure, paths.ATTENTION / "positions.png")
    if info.model.stem != "linear":
        filters = np.asarray(weights["vit/patches/conv_0"]["w"])
        kernels = filters.T.reshape(filters.shape[1], KERNEL_SIZE, KERNEL_SIZE, -1)
        figure = draw_kernels(kernels[:MAX_FILTERS], len(kernels))
    else:
        filters = np.asarray(weights["vit/patches/linear"]["w"])
        components, variance = principal_filters(filters, info.model.patch_size, MAX_FILTERS)
        figure = draw_filters(components, variance, filters.shape[1])
    save_figure(figure, paths.ATTENTION / "filters.png")


def _on_grid(maps: np.ndarray, info: WeightsInfo) -> np.ndarray:
    """Reshape maps [..., N] to [..., rows, columns]."""
    return maps.reshape(*maps.shape[:-1], *info.grid)
