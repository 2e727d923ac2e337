"""Compute the attention of a few test images; write its arrays and draw its heatmaps."""

import haiku as hk
import numpy as np
import pandas as pd

from stages import attention_figures as figures
from stages import paths, run_stage
from vit_hk.atomic import check_writable, replacing
from vit_hk.data.dataset import Dataset, load_dataset
from vit_hk.data.image_rows import ImageRows
from vit_hk.explain.attention_arrays import AttentionArrays
from vit_hk.explain.explainer import Explainer
from vit_hk.explain.head_statistics import HeadStatistics, head_statistics
from vit_hk.explain.mean_attention import mean_attention
from vit_hk.explain.methods import METHODS
from vit_hk.explain.selection import (
    check_indices,
    choose_indices,
    evenly_spaced_indices,
    mistakes_between_examples,
)
from vit_hk.figures.fonts import choose_fonts
from vit_hk.inference import build_predictor
from vit_hk.metrics import softmax
from vit_hk.model.vit import make_model
from vit_hk.params import Config, load_config
from vit_hk.runtime.devices import configure_jax
from vit_hk.runtime.memory import report_out_of_memory
from vit_hk.weights import load_weights
from vit_hk.weights_metadata import WeightsInfo

NUM_STATISTICS_IMAGES = 128  # head statistics are averaged over so many, as in the ViT paper
MAX_MISTAKES = 6  # rows of right_wrong.png


@report_out_of_memory(
    "evaluate.batch_size", "attention.num_images", "the number of attention.images"
)
def main() -> None:
    """Write results/attention/ from params.yaml, data/dataset.npz and models/vit.safetensors."""
    config = load_config()
    check_writable(paths.ATTENTION_ARRAYS)
    dataset = load_dataset(paths.DATASET)
    check_indices(config.attention.images, len(dataset.x_test))
    class_names = choose_fonts(dataset.class_names)
    configure_jax(config.platform)
    weights, info, _ = load_weights(paths.WEIGHTS, config.model, dataset)
    model = make_model(info.model, dataset.num_classes)
    probabilities = predict_probabilities(model, weights, info, dataset, config)  # [images, C]
    chosen = np.array(config.attention.images, dtype=int)
    if not chosen.size:
        chosen = choose_indices(config.attention, probabilities, dataset.y_test)

    explainer = Explainer(model, weights, info, config.attention)
    arrays = explain_images(explainer, dataset, chosen, probabilities[chosen])
    arrays.save(paths.ATTENTION_ARRAYS)
    figures.draw_images(arrays, class_names, info)
    mistakes = explain_mistakes(explainer, dataset, chosen, probabilities)
    figures.draw_mistakes(mistakes, dataset, class_names, info)

    sample = evenly_spaced_indices(NUM_STATISTICS_IMAGES, len(dataset.x_test))
    statistics = head_statistics(model, weights, info, ImageRows(dataset.x_test, sample))
    write_statistics(statistics)
    figures.draw_statistics(statistics, info, len(sample))
    figures.draw_weights(weights, info)
    batch_size = min(config.evaluate.batch_size, len(dataset.x_test))
    means = mean_attention(weights, info, dataset.x_test, batch_size)
    means.save(paths.MEAN_ATTENTION)
    print(f"{paths.ATTENTION}: attention of {len(chosen)} test images")


def predict_probabilities(
    model: hk.Transformed, weights: hk.Params, info: WeightsInfo, dataset: Dataset, config: Config
) -> np.ndarray:
    """Return the probabilities of all test images, float64 [images, C]."""
    batch_size = min(config.evaluate.batch_size, len(dataset.x_test))
    return softmax(build_predictor(model, info, batch_size)(weights, dataset.x_test))


def explain_images(
    explainer: Explainer, dataset: Dataset, indices: np.ndarray, probabilities: np.ndarray
) -> AttentionArrays:
    """Attribute the predicted and the true class of test images to their patches.

    Args:
      explainer: the model.
      dataset: the images and their labels.
      indices: int [B], indices of test images.
      probabilities: [B, C].
    """
    images, labels = dataset.x_test[indices], dataset.y_test[indices]
    attention, maps = explainer.explain(images, probabilities.argmax(axis=-1))
    return AttentionArrays(
        attention=attention,
        indices=indices,
        images=images,
        labels=labels,
        probabilities=probabilities.astype(np.float32),
        methods=np.array(list(METHODS)),
        maps=maps,
        maps_true=explainer.maps(images, labels),
    )


def explain_mistakes(
    explainer: Explainer, dataset: Dataset, chosen: np.ndarray, probabilities: np.ndarray
) -> figures.ExplainedMistakes:
    """Compute the relevance of mistakes, and of the examples that are drawn beside them.

    Args:
      explainer: the model.
      dataset: the images and their labels.
      chosen: int [B], indices of the test images among which mistakes are selected.
      probabilities: [images, C], of all test images.
    """
    indices, classes = mistakes_between_examples(
        chosen, probabilities, dataset.y_test, MAX_MISTAKES
    )
    # An index of -1 stands for no image; what is computed for it, of the last image, is not drawn.
    maps = explainer.maps(dataset.x_test[indices.ravel()], classes.ravel())
    relevance = maps[list(METHODS).index("relevance")]
    # [mistakes, 4, N]; not with -1, since there may be no mistake.
    relevance = relevance.reshape(*indices.shape, relevance.shape[-1])
    return figures.ExplainedMistakes(indices, classes, relevance)


def write_statistics(statistics: HeadStatistics) -> None:
    """Write heads.csv with a row for each head; layers and heads count from 1."""
    layers, heads = statistics.distance.shape
    table = pd.DataFrame(
        {
            "layer": np.repeat(np.arange(1, layers + 1), heads),
            "head": np.tile(np.arange(1, heads + 1), layers),
            "distance_pixels": statistics.distance.ravel(),
            "entropy_nats": statistics.entropy.ravel(),
        }
    )
    with replacing(paths.ATTENTION / "heads.csv") as temporary:
        table.to_csv(temporary, index=False, float_format="%.6g")


if __name__ == "__main__":
    run_stage(main)
