"""A trained model for images of one's own: predictions, and the attention behind them."""

import contextlib
import dataclasses
from functools import cache, cached_property
from pathlib import Path
from typing import Literal, get_args

import jax
import numpy as np

from vit_hk.calibration import class_distances
from vit_hk.data.image_preparation import Prepared, preparation_for
from vit_hk.data.inversion import looks_inverted, looks_usual
from vit_hk.data.pixels import Images, to_pixels
from vit_hk.errors import UserError, find_file_problem, shorten
from vit_hk.inference import (
    LOGITS_AND_FEATURES,
    Predictor,
    attention_chunks,
    build_predictor,
    empty_attention,
    run_model,
)
from vit_hk.metrics import softmax
from vit_hk.model.vit import make_model
from vit_hk.params import Preparation
from vit_hk.runtime.devices import configure_cpu
from vit_hk.weights import NAME_ANOTHER, Weights, read_weights

MAX_BATCH = 512  # images; more are not faster

Invert = Literal["auto", "yes", "no"]


@dataclasses.dataclass(frozen=True)
class Predictions:
    """What a model predicts for N images.

    Attributes:
      probabilities: float64 [N, C]; each row sums to 1. They are scaled with the temperature that
        fits validation images best, where the weights have one.
      classes: int [N], the most probable class of each image.
      names: the names of these classes, one for each image.
      distances: float64 [N], from the features of the training images; see
        `vit_hk.calibration.Calibration`. NaN where the weights do not have their statistics.
      is_unfamiliar: bool [N], whether an image is further away than 99 % of the validation images,
        so that its prediction means little.
      is_inverted: bool [N], whether the brightness of an image was inverted.
      images: uint8 [N, height, width, channels], what the model saw.
    """

    probabilities: np.ndarray
    classes: np.ndarray
    names: list[str]
    distances: np.ndarray
    is_unfamiliar: np.ndarray
    is_inverted: np.ndarray
    images: np.ndarray


class TrainedModel:
    """A trained model with its weights, made by `vit_hk.load`.

    `images` in its methods are arrays of the pixels that the model is to see, uint8
    [N, height, width] or [N, height, width, channels] (one image may lack N), or paths or Pillow
    images, one or several. Files and Pillow images are turned upright, resized and converted as
    the training images were. `invert` says what happens to brightness: "auto" inverts images that
    look like inverted training images, such as digits on white paper (see
    `vit_hk.data.inversion.looks_inverted`), "yes" inverts all, and "no" inverts none.
    """

    def __init__(self, weights: Weights) -> None:
        """Build the model of some weights; it is compiled when it is first used."""
        self._params, self.info, self._calibration = weights
        self._model = make_model(self.info.model, len(self.info.class_names))
        self._build_predictor = cache(self._build_predictor_of_size)

    @property
    def class_names(self) -> list[str]:
        """The names of the C classes, in the order of the probabilities."""
        return self.info.class_names

    @property
    def threshold(self) -> float:
        """The distance beyond which an image is unfamiliar; infinite where it is unknown."""
        return float(self._calibration.threshold) if self._calibration else np.inf

    @property
    def preparation(self) -> Preparation | None:
        """How files and Pillow images become arrays; None where the model sees no grey or RGB.

        It is that of the training images. Where the weights do not say it, images are cropped to
        their proportions and resized.
        """
        return self.info.preparation or preparation_for(self.info.image_shape, "crop")

    def predict(self, images: Images, invert: Invert = "auto") -> Predictions:
        """Return the predictions for images.

        The number of images is rounded up to a power of 2, at most 512, so that few batch sizes are
        compiled.

        Raises:
          UserError: an image cannot be read, or is an array of another type or shape, or `invert`
            is none of the three.
          MemoryError: a lower bound of the memory that it takes is more than is free.
        """
        pixels, is_inverted = self._prepare(images, invert)
        predict = self._build_predictor(min(MAX_BATCH, 2 ** (len(pixels) - 1).bit_length()))
        logits, features = predict(self._params, pixels)
        known = self._calibration
        probabilities = softmax(logits / known.temperature if known else logits)
        classes = probabilities.argmax(axis=-1)
        distances = (
            class_distances(features, known.class_means, known.whitening)
            if known
            else np.full(len(pixels), np.nan)
        )
        return Predictions(
            probabilities=probabilities,
            classes=classes,
            names=[self.class_names[number] for number in classes],
            distances=distances,
            is_unfamiliar=distances > self.threshold,
            is_inverted=is_inverted,
            images=pixels,
        )

    def attention(self, images: Images, invert: Invert = "auto") -> np.ndarray:
        """Return the attention weights of all layers and heads, float32 [L, N, H, T, T].

        The last two axes are query and key; each row sums to 1. The tokens are the class token
        (with pool "cls"), the registers, and the patches row by row.

        Raises:
          UserError: an image cannot be read, or is an array of another type or shape, or `invert`
            is none of the three.
          MemoryError: the attention of all images takes more memory than is free.
        """
        pixels, _ = self._prepare(images, invert)
        attention = empty_attention(self.info, len(pixels))
        for chunk in attention_chunks(len(pixels), self.info.model, self.info.image_shape):
            attention[:, chunk] = self._attend(self._params, pixels[chunk])
        return attention

    def _prepare(self, images: Images, invert: Invert) -> tuple[np.ndarray, np.ndarray]:
        """Return uint8 images [N, height, width, channels], and which were inverted, bool [N]."""
        if invert not in get_args(Invert):
            allowed = ", ".join(map(repr, get_args(Invert)))
            raise UserError(f"invert is {shorten(invert)}; allowed: {allowed}")
        prepared = to_pixels(images, self.info.image_shape, self.preparation)
        return self.invert_images(prepared, invert)

    def invert_images(self, prepared: Prepared, invert: Invert) -> tuple[np.ndarray, np.ndarray]:
        """Invert the brightness of prepared images, of all or of those that look inverted.

        What is inverted is an image, and not the background below its transparent pixels or around
        it: black ink on nothing becomes white ink on the black of the training images.

        Args:
          prepared: images [N, height, width, channels], on both backgrounds.
          invert: which are inverted.

        Returns:
          Uint8 images [N, height, width, channels], and which were inverted, bool [N].
        """
        pixels, to_invert = prepared
        is_inverted = np.full(len(pixels), invert == "yes")
        if invert == "auto" and self._calibration:
            usual = self._calibration.border_range
            is_inverted = looks_inverted(to_invert, usual) & ~looks_usual(pixels, usual)
        if is_inverted.any():
            chosen = is_inverted[:, np.newaxis, np.newaxis, np.newaxis]
            pixels = np.where(chosen, ~to_invert, pixels)
        return pixels, is_inverted

    def _build_predictor_of_size(self, batch_size: int) -> Predictor:
        return build_predictor(self._model, self.info, batch_size, LOGITS_AND_FEATURES)

    @cached_property
    def _attend(self) -> jax.stages.Wrapped:
        normalization = self.info.normalization
        return jax.jit(lambda w, x: run_model(self._model, w, x, normalization).attention)


def load(path: str | Path = "models/vit.safetensors") -> TrainedModel:
    """Return the trained model of a weights file, for images of one's own.

    Where JAX has not started yet, it is configured as the pipeline configures it: each core of a
    CPU becomes a device.

    Raises:
      UserError: the file is missing, damaged, or not a weights file of this project.
    """
    path = Path(path)
    if problem := find_file_problem(path):
        raise UserError(
            f"{path} is {problem}; name a weights file, or make models/vit.safetensors with: dvc "
            "repro train"
        )
    with contextlib.suppress(RuntimeError):  # JAX has started, as its user has configured it
        configure_cpu()
    return TrainedModel(read_weights(path, NAME_ANOTHER))
