"""The attention explorers of two runs, with the same test images in both."""

import dataclasses
from typing import Any

import numpy as np

from vit_hk.compare.run import Run, named_errors
from vit_hk.compare.sources import ATTENTION, DATASET, PARAMS, PREDICTIONS, WEIGHTS
from vit_hk.data.dataset import Dataset
from vit_hk.errors import UserError
from vit_hk.explain.attention_arrays import AttentionArrays
from vit_hk.params import Config, load_config
from vit_hk.report.attention_arrays import read_attention_arrays
from vit_hk.report.explorer import Explorer, ExplorerImage, image_without_attention, make_explorer
from vit_hk.report.explorer_images import encode_pixels
from vit_hk.report.page import DRAWN_CHANNELS
from vit_hk.report.page_model import make_page_model
from vit_hk.report.predictions import Predictions, read_predictions
from vit_hk.report.weights_file import WeightsFile, read_weights_file

MAX_IMAGES = 150  # more would make the page slow
MAX_CHARACTERS = 600_000  # of the pixels of these images, in each explorer


@dataclasses.dataclass(frozen=True)
class Explorable:
    """A run whose attention can be explored.

    Attributes:
      config: its settings.
      dataset: its data set.
      predictions: its predictions for the test images.
      weights: its weights file.
      explorer: the explorer of its report.
    """

    config: Config
    dataset: Dataset
    predictions: Predictions
    weights: WeightsFile
    explorer: Explorer

    @property
    def stored(self) -> dict[int, ExplorerImage]:
        """The test images whose attention is stored, by index."""
        return {image.index: image for image in self.explorer.images if image.pooled_attention}

    def page_data(self, indices: list[int]) -> dict[str, Any]:
        """Return what the page needs: the explorer of these test images, and the trained model.

        The attention of single tokens, which would take most of the room, is computed in the page.
        """
        stored = self.stored
        images = [
            stored.get(index) or image_without_attention(self.dataset, self.predictions, index)
            for index in indices
        ]
        explorer = self._with(images).without_token_attention()
        model = make_page_model(self.weights, self.config.attention)
        return {"explorer": dataclasses.asdict(explorer), "model": dataclasses.asdict(model)}

    def stored_page_data(self, indices: list[int], *, of_tokens: bool) -> dict[str, Any]:
        """Return what the page needs without the model, for images whose attention is stored.

        Args:
          indices: of these images.
          of_tokens: whether the attention of single tokens is part of it.
        """
        explorer = self._with([self.stored[index] for index in indices])
        if not of_tokens:
            explorer = explorer.without_token_attention()
        return {"explorer": dataclasses.asdict(explorer), "model": None}

    def _with(self, images: list[ExplorerImage]) -> Explorer:
        return dataclasses.replace(self.explorer, images=images)


def read_explorable(run: Run) -> Explorable:
    """Read what the explorer of a run needs.

    Raises:
      UserError: a file is missing, damaged, or of another version of this project.
    """
    files, dataset = run.files, run.dataset
    lacking = [file for file in (DATASET, WEIGHTS, ATTENTION) if file in files.missing]
    if dataset is None or lacking:
        raise UserError(f"{files.name}: {lacking[0]} is {files.missing[lacking[0]]}")
    with named_errors(files):
        config = load_config(files.folder / PARAMS)
        weights = read_weights_file(files.folder / WEIGHTS, config.model, dataset)
        if dataset.image_shape[2] not in DRAWN_CHANNELS:
            raise UserError("the page computes attention for images of 1 or 3 channels only")
        arrays = read_attention_arrays(files.folder / ATTENTION, config.model, dataset)
        predictions = read_predictions(files.folder / PREDICTIONS, dataset)
        _check_same_weights(arrays, predictions)
        scores, errors = map(_of_faithfulness, (run.metrics, run.standard_errors))
        explorer = make_explorer(arrays, dataset, predictions, config.model, scores, errors)
        return Explorable(config, dataset, predictions, weights, explorer)


def _of_faithfulness(numbers: dict[str, float]) -> dict[str, float]:
    """Return the numbers of a run about faithfulness, by the method."""
    return {
        key.removeprefix("faithfulness."): value
        for key, value in numbers.items()
        if key.startswith("faithfulness.")
    }


def _check_same_weights(arrays: AttentionArrays, predictions: Predictions) -> None:
    """Refuse attention that the weights of another run have, as where only `evaluate` ran again.

    Raises:
      UserError: the probabilities of the predicted classes are not those of the predictions.
    """
    classes = predictions.classes[arrays.indices]
    found = np.take_along_axis(arrays.probabilities, classes[:, np.newaxis], axis=1)[:, 0]
    if not np.allclose(found, predictions.confidence[arrays.indices], rtol=0, atol=0.01):
        raise UserError(
            f"{ATTENTION} is not of the weights of {PREDICTIONS}; make it again with: dvc repro"
        )


def choose_images(explorables: list[Explorable], listed: list[int]) -> list[int]:
    """Choose test images: those that the page lists, those of the reports, mistakes, and others.

    Args:
      explorables: both runs, with the same test images.
      listed: indices of the images that the page lists as disagreements.

    Returns:
      Indices in the test set, as many as the page has room for.
    """
    dataset = explorables[0].dataset
    wrong = [run.predictions.classes != dataset.y_test for run in explorables]
    disagreed = np.flatnonzero(wrong[0] != wrong[1])
    neither = np.flatnonzero(wrong[0] & wrong[1])
    order = [*listed, *(n for run in explorables for n in run.stored), *disagreed.tolist()]
    order += [*neither.tolist(), *range(len(dataset.y_test))]
    room = min(MAX_IMAGES, MAX_CHARACTERS // len(encode_pixels(dataset.x_test[0])))
    return list(dict.fromkeys(order))[: max(1, room)]
