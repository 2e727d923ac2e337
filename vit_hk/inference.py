"""Runs a trained model over images."""

from collections.abc import Callable, Iterator

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from vit_hk.data.normalization import Normalization
from vit_hk.model.size import inference_bytes
from vit_hk.model.vit import ViTOutput
from vit_hk.params import ModelSettings
from vit_hk.runtime.batch_layout import AXIS, BatchLayout, layout_for_inference
from vit_hk.runtime.memory import check_free_memory
from vit_hk.weights_metadata import WeightsInfo

CHUNK_BYTES = 2**28  # of the attention of all layers that is held at a time

Predictor = Callable[[hk.Params, np.ndarray], np.ndarray]


def build_predictor(model: hk.Transformed, info: WeightsInfo, batch_size: int) -> Predictor:
    """Build a function that predicts images with trained weights; see `make_predictor`.

    Args:
      model: the model of the weights.
      info: metadata of the weights.
      batch_size: number of images of a batch.

    Raises:
      MemoryError: a lower bound of the memory that a batch takes is more than is free.
    """
    layout = layout_for_inference(batch_size, info.num_tokens)
    check_free_memory(inference_bytes(info.model, info.image_shape, layout.images_per_memory))
    return make_predictor(model, info.normalization, layout)


def make_predictor(
    model: hk.Transformed, normalization: Normalization, layout: BatchLayout
) -> Predictor:
    """Build a function that predicts any number of images, each of them once.

    The function takes parameters and images uint8 [N, height, width, channels], and returns logits
    float32 [N, C]. It processes a batch of `layout` at a time and pads the last one, so that one
    shape is compiled, however many images come.
    """

    def predict_share(params: hk.Params, share: jax.Array) -> jax.Array:
        microbatches = share.reshape(-1, layout.microbatch_size, *share.shape[1:])
        logits = jax.lax.map(
            lambda images: run_model(model, params, images, normalization).logits, microbatches
        )
        return logits.reshape(len(share), -1)

    split = PartitionSpec(AXIS)
    predict_batch = jax.jit(
        jax.shard_map(
            predict_share, mesh=layout.mesh, in_specs=(PartitionSpec(), split), out_specs=split,
            check_vma=False,
        )
    )  # fmt: skip

    def predict(params: hk.Params, images: np.ndarray) -> np.ndarray:
        params = jax.device_put(params, layout.replicated)
        padded = np.pad(images, [(0, -len(images) % layout.batch_size), (0, 0), (0, 0), (0, 0)])
        batches = padded.reshape(-1, layout.batch_size, *images.shape[1:])
        return np.concatenate([predict_batch(params, batch) for batch in batches])[: len(images)]

    return predict


def run_model(
    model: hk.Transformed,
    params: hk.Params,
    images: jax.Array | np.ndarray,
    normalization: Normalization,
) -> ViTOutput:
    """Run one forward pass without dropout over images uint8 [B, height, width, channels]."""
    return model.apply(params, None, normalization(images), is_training=False)


AttentionGradient = Callable[[hk.Params, np.ndarray, np.ndarray], tuple[ViTOutput, jax.Array]]


def make_attention_gradient(
    model: hk.Transformed, normalization: Normalization
) -> AttentionGradient:
    """Build a compiled function that differentiates logits with respect to attention weights.

    The function takes parameters, images uint8 [B, height, width, channels] and classes int [B].
    It returns, from one forward and one backward pass, the ViTOutput and the gradient of each
    image's logit of its class with respect to its attention weights, float32 [L, B, H, query T,
    key T], which includes what follows in later layers.
    """

    @jax.jit
    def gradient(
        params: hk.Params, images: jax.Array, classes: jax.Array
    ) -> tuple[ViTOutput, jax.Array]:
        def class_logits(offset: jax.Array) -> tuple[jax.Array, ViTOutput]:
            output = model.apply(
                params, None, normalization(images), is_training=False, attention_offset=offset
            )
            logits = jnp.take_along_axis(output.logits, classes[:, jnp.newaxis], axis=1)
            return logits.sum(), output  # no image influences another image's logits

        weights = jax.eval_shape(lambda: run_model(model, params, images, normalization).attention)
        zeros = jnp.zeros(weights.shape, weights.dtype)
        attention_gradient, output = jax.grad(class_logits, has_aux=True)(zeros)
        return output, attention_gradient

    return gradient


def attention_chunks(num_images: int, num_tokens: int, settings: ModelSettings) -> Iterator[slice]:
    """Yield slices of `num_images` images, each small enough for its attention to fit in memory.

    Args:
      num_images: number of images in all.
      num_tokens: T, of an image.
      settings: the architecture.
    """
    weights = settings.num_layers * settings.num_heads * num_tokens**2  # float32, of an image
    size = max(1, CHUNK_BYTES // (4 * weights))
    for start in range(0, num_images, size):
        yield slice(start, start + size)
