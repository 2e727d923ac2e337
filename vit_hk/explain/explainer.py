"""Attribution of a trained model's predictions to the patches of its input images."""

from collections.abc import Iterator
from typing import NamedTuple

import haiku as hk
import numpy as np

from vit_hk.data.image_rows import ImageArray
from vit_hk.explain.methods import METHODS, MethodInputs, attribution_maps
from vit_hk.inference import attention_chunks, empty_attention, make_attention_gradient
from vit_hk.model.size import attention_bytes
from vit_hk.params import AttentionSettings
from vit_hk.runtime.memory import advise_out_of_memory, check_free_memory
from vit_hk.weights_metadata import WeightsInfo

MEMORY_ADVICE = "raise model.patch_size, or lower model.num_layers or model.num_heads"


class Attributions(NamedTuple):
    """The attention of B images, and the attribution maps of all methods for one class each."""

    attention: np.ndarray  # float32 [L, B, H, query T, key T]
    maps: np.ndarray  # float32 [methods, B, N], in the order of METHODS


class Explainer:
    """A trained model with its weights, and the settings of its attribution maps.

    Images are processed in chunks that bound the attention and gradients in memory; see
    `attention_chunks`. Each distinct chunk size is compiled once.
    """

    def __init__(
        self,
        model: hk.Transformed,
        weights: hk.Params,
        info: WeightsInfo,
        settings: AttentionSettings,
    ) -> None:
        """Store the model; nothing is compiled before the first images are processed.

        Raises:
          UserError: the attention of one image and its gradient take more memory than is free.
        """
        needed = 2 * info.model.num_layers * attention_bytes(info.model, info.image_shape)
        with advise_out_of_memory(MEMORY_ADVICE):
            check_free_memory(needed)
        self._weights, self._info, self._settings = weights, info, settings
        self._attention_gradient = make_attention_gradient(model, info.normalization)

    def explain(self, images: ImageArray, classes: np.ndarray) -> Attributions:
        """Return the attention and the attribution maps, both from one pass over the images.

        The attention of all images is held in memory; use `maps` where it is not needed.

        Args:
          images: uint8 [B, height, width, channels].
          classes: int [B], the class of each image whose logit is attributed.

        Raises:
          MemoryError: the attention of all images takes more memory than is free.
        """
        attention = empty_attention(self._info, len(images))
        maps = np.empty((len(METHODS), len(images), self._info.num_patches), np.float32)
        for chunk, found in self._chunks(images, classes):
            attention[:, chunk], maps[:, chunk] = found
        return Attributions(attention, maps)

    def maps(self, images: ImageArray, classes: np.ndarray) -> np.ndarray:
        """Return the attribution maps; only one chunk's attention is held in memory at a time.

        Args:
          images: uint8 [B, height, width, channels].
          classes: int [B], the class of each image whose logit is attributed.

        Returns:
          Float32 [methods, B, N], in the order of METHODS; B may be 0.
        """
        none = np.empty((len(METHODS), 0, self._info.num_patches), np.float32)
        chunks = (found.maps for _, found in self._chunks(images, classes))
        return np.concatenate([none, *chunks], axis=1)

    def _chunks(
        self, images: ImageArray, classes: np.ndarray
    ) -> Iterator[tuple[slice, Attributions]]:
        """Yield which images a chunk has, and their attributions."""
        info, settings = self._info, self._settings
        for chunk in attention_chunks(len(images), info.model, info.image_shape):
            output, gradient = self._attention_gradient(
                self._weights, images[chunk], classes[chunk]
            )
            inputs = MethodInputs(
                attention=np.asarray(output.attention),
                gradient=np.asarray(gradient),
                pool=info.model.pool,
                head_fusion=settings.head_fusion,
                discard_ratio=settings.discard_ratio,
            )
            yield chunk, Attributions(inputs.attention, attribution_maps(inputs, info.num_patches))
