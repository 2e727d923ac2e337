"""Draw where the model looks on a few test images and keep the raw attention."""

import math
from pathlib import Path

import haiku as hk
import jax
import numpy as np
import pandas as pd

from vit_hk.atomic import check_writable, replacing
from vit_hk.dataset import Dataset, load_dataset
from vit_hk.device import select_device
from vit_hk.division import divide_for_prediction
from vit_hk.errors import one_line_errors
from vit_hk.evaluation import softmax
from vit_hk.explain.distance import patch_distances
from vit_hk.explain.filters import principal_filters
from vit_hk.explain.methods import METHODS, shares
from vit_hk.explain.patch_attention import name_of_reader, patch_attention
from vit_hk.explain.positions import cosine_similarity, patch_positions
from vit_hk.explain.selection import (
    check_indices,
    choose_images,
    mistakes_between_examples,
    spread,
)
from vit_hk.explain.token_shares import token_kinds
from vit_hk.explanation import Explainer
from vit_hk.figures.by_layer import draw_by_layer
from vit_hk.figures.class_maps import draw_class_maps
from vit_hk.figures.filters import draw_filters, draw_kernels
from vit_hk.figures.overview import draw_overview
from vit_hk.figures.patch_grid import draw_patch_grid
from vit_hk.figures.right_wrong import draw_right_wrong
from vit_hk.figures.saving import save_figure
from vit_hk.figures.sheet import draw_sheet
from vit_hk.figures.token_shares import draw_token_shares
from vit_hk.head_statistics import HeadStatistics, head_statistics
from vit_hk.inference import make_predictor, run_model
from vit_hk.memory import check_prediction_fits, enough_memory
from vit_hk.model.stem import KERNEL
from vit_hk.model.vit import make_model
from vit_hk.params import load_params
from vit_hk.weights import WeightsInfo, load_weights

DATASET = Path("data/dataset.npz")
WEIGHTS = Path("models/vit.safetensors")
FOLDER = Path("results/attention")
NUM_STATISTICS = 128  # test images that statistics of heads are means of, as in the ViT paper
NUM_FILTERS = 28  # components, as in the ViT paper, or kernels of the stem
MOST_MISTAKES = 6  # rows of right_wrong.png


@enough_memory("evaluate.batch_size", "attention.num_images")
def main() -> None:
    """params.yaml: attention; data/dataset.npz, models/vit.safetensors -> results/attention/."""
    params = load_params()
    check_writable(FOLDER / "attention.npz")
    dataset = load_dataset(DATASET)
    check_indices(params.attention.images, len(dataset.x_test))
    select_device(params.train.platform)
    weights, info = load_weights(WEIGHTS, params.model, dataset)
    model = make_model(info.model, dataset.num_classes)
    batch_size = min(params.evaluate.batch_size, len(dataset.x_test))
    division = divide_for_prediction(batch_size, info.num_tokens)
    check_prediction_fits(info.model, info.num_patches, division)
    predict = make_predictor(model, info.mean, info.std, division)
    every = softmax(predict(weights, dataset.x_test))  # [N, C]
    chosen = np.array(params.attention.images, dtype=int)
    if not chosen.size:
        chosen = choose_images(params.attention, every, dataset.y_test)
    images, labels = dataset.x_test[chosen], dataset.y_test[chosen]
    run = jax.jit(lambda weights: run_model(model, weights, images, info.mean, info.std))
    output = run(weights)
    attention = np.asarray(output.attention)
    probabilities = softmax(np.asarray(output.logits))
    explainer = Explainer(model, weights, info, params.attention)
    compared, compared_for = mistakes_between_examples(chosen, every, dataset.y_test, MOST_MISTAKES)
    # All in one call, since each number of images is compiled anew.
    explained = np.concatenate([chosen, chosen, compared.ravel()])
    classes = np.concatenate([probabilities.argmax(axis=-1), labels, compared_for.ravel()])
    parts = np.split(
        explainer.maps(dataset.x_test[explained], classes), [len(chosen), 2 * len(chosen)], axis=1
    )
    maps, maps_true, maps_compared = parts
    with replacing(FOLDER / "attention.npz") as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            attention=attention,
            indices=chosen,
            images=images,
            labels=labels,
            probabilities=probabilities.astype(np.float32),
            methods=np.array(METHODS),
            maps=maps,
            maps_true=maps_true,
        )
    looked = patch_attention(attention, maps.shape[-1], info.model.pool)
    draw(dataset, chosen, on_grid(looked, info), probabilities, info.model.pool)
    comparable = on_grid(shares(maps), info), on_grid(shares(maps_true), info)
    draw_maps(dataset, chosen, *comparable, probabilities)
    relevance = on_grid(shares(maps_compared[METHODS.index("relevance")]), info)
    draw_mistakes(dataset, compared, compared_for, relevance)
    draw_any_patch(dataset, info, attention, chosen)
    statistics = head_statistics(
        model, weights, info, dataset.x_test[spread(NUM_STATISTICS, len(dataset.x_test))]
    )
    write_statistics(statistics)
    draw_statistics(statistics, info, min(NUM_STATISTICS, len(dataset.x_test)))
    draw_weights(weights, info)
    print(f"{FOLDER}: attention of {len(chosen)} test images")


def on_grid(maps: np.ndarray, info: WeightsInfo) -> np.ndarray:
    """From [..., N] to [..., rows, columns]."""
    return maps.reshape(*maps.shape[:-1], *info.grid)


def draw(
    dataset: Dataset, chosen: np.ndarray, maps: np.ndarray, probabilities: np.ndarray, pool: str
) -> None:
    """Write a sheet for each image and the overview.

    Args:
      dataset: holds images, labels and names.
      chosen: int [B], test images.
      maps: [L, B, H, rows, columns].
      probabilities: [B, C].
      pool: "cls" or "gap".
    """
    reader = name_of_reader(pool)
    titles = []
    for number, index in enumerate(chosen):
        guess = int(probabilities[number].argmax())
        label, predicted = dataset.class_names[dataset.y_test[index]], dataset.class_names[guess]
        verdict = "right" if guess == dataset.y_test[index] else "WRONG"
        sure = 100 * probabilities[number, guess]
        word = "predicted" if verdict == "right" else "WRONG:"
        titles.append(f"{word} {predicted}, is {label}")
        title = (
            f"Test image {index}: predicted {predicted} ({sure:.0f} % sure), is {label}: {verdict}"
        )
        sheet = draw_sheet(dataset.x_test[index], maps[:, number], title, reader)
        save_figure(sheet, FOLDER / f"image_{number + 1:02d}.png")
    overview = draw_overview(dataset.x_test[chosen], maps[-1].mean(axis=1), titles, reader)
    save_figure(overview, FOLDER / "overview.png")


def draw_maps(
    dataset: Dataset,
    chosen: np.ndarray,
    maps: np.ndarray,
    maps_true: np.ndarray,
    probabilities: np.ndarray,
) -> None:
    """Write rollout beside relevance for the predicted and the true class.

    Args:
      dataset: holds images, labels and names.
      chosen: int [B], test images.
      maps: [M, B, rows, columns], for the predicted class; each sums to 1.
      maps_true: the same shape, for the true class.
      probabilities: [B, C].
    """
    names = dataset.class_names
    guesses, labels = probabilities.argmax(axis=-1), dataset.y_test[chosen]
    figure = draw_class_maps(
        dataset.x_test[chosen],
        maps[METHODS.index("rollout")],
        maps[METHODS.index("relevance")],
        maps_true[METHODS.index("relevance")],
        [(names[guess], names[label]) for guess, label in zip(guesses, labels, strict=True)],
    )
    save_figure(figure, FOLDER / "class_maps.png")


def draw_mistakes(
    dataset: Dataset, indices: np.ndarray, classes: np.ndarray, maps: np.ndarray
) -> None:
    """Write the mistakes among the chosen images between images that are recognized.

    Args:
      dataset: holds images and names.
      indices: int [K, 4], from `mistakes_between_examples`.
      classes: int [K, 4], what each is explained for.
      maps: [4 * K, rows, columns], relevance; each sums to 1.
    """
    names = dataset.class_names
    maps = maps.reshape(*indices.shape, *maps.shape[1:])
    pairs = [(names[label], names[guess]) for label, guess in classes[:, 1:3]]
    figure = draw_right_wrong(dataset.x_test[indices], maps, pairs, indices >= 0)
    save_figure(figure, FOLDER / "right_wrong.png")


def draw_any_patch(
    dataset: Dataset, info: WeightsInfo, attention: np.ndarray, chosen: np.ndarray
) -> None:
    """Write where each patch of the first chosen image looks."""
    layers = len(attention)
    # With a class token nobody reads the patches after the last layer.
    layer = layers - 1 if info.model.pool == "cls" and layers > 1 else layers
    between = attention[layer - 1, 0].mean(axis=0)[-info.num_patches :, -info.num_patches :]  # N, N
    tiles = between.reshape(*info.grid, *info.grid)
    figure = draw_patch_grid(
        tiles,
        f"Where each patch of test image {chosen[0]} looks\n"
        f"in layer {layer} of {layers}, mean over the heads",
        "share of the attention of the patch in the frame",
        "viridis",
        (0.0, float(tiles.max())),
        dataset.x_test[chosen[0]],
    )
    save_figure(figure, FOLDER / "any_patch.png")


def write_statistics(statistics: HeadStatistics) -> None:
    """Write heads.csv, a row for each head; layers and heads count from 1."""
    layers, heads = statistics.distance.shape
    table = pd.DataFrame(
        {
            "layer": np.repeat(np.arange(1, layers + 1), heads),
            "head": np.tile(np.arange(1, heads + 1), layers),
            "distance_pixels": statistics.distance.ravel(),
            "entropy_nats": statistics.entropy.ravel(),
        }
    )
    with replacing(FOLDER / "heads.csv") as temporary:
        table.to_csv(temporary, index=False, float_format="%.6g")


def draw_statistics(statistics: HeadStatistics, info: WeightsInfo, num_images: int) -> None:
    """Write how far heads look, how spread out they are, and what they look at."""
    tokens = info.model.num_tokens(info.num_patches)
    even = float(patch_distances(info.grid, info.model.patch_size).mean())
    distance = draw_by_layer(
        statistics.distance,
        f"How far a patch looks; mean over {num_images:,} test images",
        "mean distance (pixels)",
        {"looking at all patches alike": even},
    )
    save_figure(distance, FOLDER / "distance.png")
    entropy = draw_by_layer(
        statistics.entropy,
        f"How spread out attention is; mean over {num_images:,} test images",
        "entropy (nats)",
        {f"the most, all {tokens} tokens alike": math.log(tokens)},
    )
    save_figure(entropy, FOLDER / "entropy.png")
    kinds = token_kinds(tokens, info.num_patches, info.model.pool)
    counts = np.bincount(kinds, minlength=3)
    figure = draw_token_shares(statistics.shares.mean(axis=1), counts, num_images)
    save_figure(figure, FOLDER / "token_shares.png")


def draw_weights(weights: hk.Params, info: WeightsInfo) -> None:
    """Write what the weights show without an image: positions and filters."""
    similarity = cosine_similarity(patch_positions(weights, info.model, info.grid))
    learned = "learned" if info.model.position == "learned" else "fixed"
    figure = draw_patch_grid(
        similarity.reshape(*info.grid, *info.grid),
        f"How like each other the {learned} positional embeddings are",
        "cosine similarity to the position in the frame",
        "RdBu_r",
        (-1.0, 1.0),
    )
    save_figure(figure, FOLDER / "positions.png")
    if info.model.stem == "conv":
        filters = np.asarray(weights["vit/patches/conv_0"]["w"])
        kernels = filters.T.reshape(filters.shape[1], KERNEL, KERNEL, -1)
        figure = draw_kernels(kernels[:NUM_FILTERS], len(kernels))
    else:
        filters = np.asarray(weights["vit/patches/linear"]["w"])
        components, variance = principal_filters(filters, info.model.patch_size, NUM_FILTERS)
        figure = draw_filters(components, variance, filters.shape[1])
    save_figure(figure, FOLDER / "filters.png")


if __name__ == "__main__":
    with one_line_errors():
        main()
