"""A trained model that explains its decisions: maps of all methods for one class an image."""

import haiku as hk
import numpy as np

from vit_hk.explain.methods import explain
from vit_hk.inference import attention_chunks, make_attention_gradient
from vit_hk.params import AttentionSettings
from vit_hk.weights import WeightsInfo


class Explainer:
    """A model with its weights; holds the attention of a part of the images at a time."""

    def __init__(
        self,
        model: hk.Transformed,
        weights: hk.Params,
        info: WeightsInfo,
        settings: AttentionSettings,
    ) -> None:
        """Compile nothing yet; each number of images is compiled when it first comes."""
        self._weights, self._info, self._settings = weights, info, settings
        self._attend = make_attention_gradient(model, info.mean, info.std)

    def maps(self, images: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """How much each patch counts for one class of each image.

        Args:
          images: uint8 [B, height, width, channels].
          classes: int [B].

        Returns:
          Float32 [M, B, N], in the order of METHODS.
        """
        info, settings, parts = self._info, self._settings, []
        for part in attention_chunks(len(images), info.num_patches, info.model):
            output, gradient = self._attend(self._weights, images[part], classes[part])
            parts.append(
                explain(
                    np.asarray(output.attention), np.asarray(gradient), info.num_patches,
                    info.model.pool, settings.head_fusion, settings.discard_ratio,
                )
            )  # fmt: skip
        return np.concatenate(parts, axis=1)
