"""Inference with a trained model: predictions, attention, and gradients of the attention."""

from collections.abc import Callable, Iterable, Iterator
from operator import attrgetter
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from vit_hk.data.image_rows import ImageArray
from vit_hk.data.normalization import Normalization
from vit_hk.model.size import attention_bytes, inference_bytes
from vit_hk.model.vit import ViTOutput
from vit_hk.params import ImageShape, ModelSettings
from vit_hk.runtime.batch_layout import AXIS, BatchLayout, layout_for_inference
from vit_hk.runtime.cluster import gather, replicate
from vit_hk.runtime.memory import check_free_host_memory, check_free_memory
from vit_hk.runtime.prefetch import prefetch_one
from vit_hk.weights_metadata import WeightsInfo

CHUNK_BYTES = 2**28  # of the attention of all layers, for the images of a chunk

# (parameters, images uint8 [images, height, width, channels]) -> logits float32 [images, C], or the
# arrays that `select` takes from a ViTOutput, each with the images along its first axis
Predictor = Callable[[hk.Params, ImageArray], Any]
Selection = Callable[[ViTOutput], Any]
LOGITS: Selection = attrgetter("logits")
LOGITS_AND_FEATURES: Selection = attrgetter("logits", "features")  # a pair


def build_predictor(
    model: hk.Transformed, info: WeightsInfo, batch_size: int, select: Selection = LOGITS
) -> Predictor:
    """Build a predictor for trained weights, after a check of the free memory.

    Args:
      model: the model of the weights.
      info: metadata of the weights.
      batch_size: number of images of a batch.
      select: what the predictor returns.

    Returns:
      See `make_predictor`.

    Raises:
      MemoryError: a lower bound of the memory that a batch takes is more than is free.
    """
    layout = layout_for_inference(batch_size, info.num_tokens, info.model.hidden_size)
    check_free_memory(inference_bytes(info.model, info.image_shape, layout.images_per_memory))
    return make_predictor(model, info.normalization, layout, select)


def make_predictor(
    model: hk.Transformed,
    normalization: Normalization,
    layout: BatchLayout,
    select: Selection = LOGITS,
) -> Predictor:
    """Build a function (parameters, images) -> logits for any number of images.

    The images are uint8 [images, height, width, channels], and the logits float32 [images, C]. The
    function reads and processes a batch of `layout` at a time, so that the images may be larger
    than memory, and pads the last one, so that a single shape is compiled for any number of images.
    With LOGITS_AND_FEATURES as `select` it returns a pair of them and the features float32
    [images, D].
    """

    def predict_shard(params: hk.Params, shard: jax.Array) -> Any:
        """Return the output for one device's shard of a batch, in microbatches."""
        microbatches = shard.reshape(-1, layout.microbatch_size, *shard.shape[1:])
        output = jax.lax.map(
            lambda images: select(run_model(model, params, images, normalization)), microbatches
        )
        return jax.tree.map(lambda x: x.reshape(len(shard), *x.shape[2:]), output)

    sharded = PartitionSpec(AXIS)
    predict_batch = jax.jit(
        jax.shard_map(
            predict_shard,
            mesh=layout.mesh,
            in_specs=(PartitionSpec(), sharded),
            out_specs=sharded,
        )
    )

    by_device = NamedSharding(layout.mesh, sharded)

    def make_sharded(batch: np.ndarray) -> jax.Array:
        return jax.make_array_from_callback(batch.shape, by_device, batch.__getitem__)

    def predict(params: hk.Params, images: ImageArray) -> Any:
        params = replicate(params, layout.replicated)
        outputs = (
            (start, predict_batch(params, make_sharded(batch)))
            for start, batch in _padded_batches(images, layout.batch_size)
        )
        if jax.process_count() > 1:  # one exchange, after the last batch
            parts = gather([output for _, output in outputs])
            return jax.tree.map(lambda *xs: np.concatenate(xs)[: len(images)], *parts)
        # A GPU computes a batch while the outputs for the one before it are copied.
        return _copy_outputs(prefetch_one(outputs), len(images))

    return predict


def _copy_outputs(outputs: Iterable[tuple[int, Any]], count: int) -> Any:
    """Return the outputs for `count` images in one array each, from those of each batch.

    The arrays are made at once: small ones, made between the memory of two batches, would keep
    malloc from using that memory again.

    Args:
      outputs: the output for a batch, after the index of its first image.
      count: number of images; the last batch may have more.
    """
    results: Any = None
    for start, output in outputs:
        if results is None:
            results = jax.tree.map(lambda x: np.empty((count, *x.shape[1:]), x.dtype), output)
        for result, part in zip(*map(jax.tree.leaves, (results, output)), strict=True):
            own = result[start : start + len(part)]
            own[...] = part[: len(own)]
    return results


def _padded_batches(images: ImageArray, batch_size: int) -> Iterator[tuple[int, np.ndarray]]:
    """Yield batches of `batch_size` images, each after the index of its first one.

    The last one is padded with black images.
    """
    for start in range(0, len(images), batch_size):
        batch = images[start : start + batch_size]
        missing = batch_size - len(batch)
        padding = [(0, missing), (0, 0), (0, 0), (0, 0)]
        yield start, np.pad(batch, padding) if missing else batch


def run_model(
    model: hk.Transformed,
    params: hk.Params,
    images: jax.Array | np.ndarray,
    normalization: Normalization,
) -> ViTOutput:
    """Run one forward pass without dropout over images uint8 [B, height, width, channels]."""
    return model.apply(params, normalization(images))


# (parameters, images uint8 [B, height, width, channels], classes int [B]) ->
# (output, gradient float32 [L, B, H, query T, key T])
AttentionGradient = Callable[[hk.Params, np.ndarray, np.ndarray], tuple[ViTOutput, jax.Array]]


def make_attention_gradient(
    model: hk.Transformed, normalization: Normalization
) -> AttentionGradient:
    """Build a compiled function that differentiates logits with respect to attention weights.

    The function takes parameters, images uint8 [B, height, width, channels] and classes int [B].
    It returns, from one forward and one backward pass, the ViTOutput and the gradient of each
    image's logit of its class with respect to its attention weights, float32 [L, B, H, query T,
    key T]. The gradient with respect to a layer includes the influence on all later layers.
    """

    @jax.jit
    def gradient(
        params: hk.Params, images: jax.Array, classes: jax.Array
    ) -> tuple[ViTOutput, jax.Array]:
        def class_logits(offset: jax.Array) -> tuple[jax.Array, ViTOutput]:
            output = model.apply(params, normalization(images), attention_offset=offset)
            logits = jnp.take_along_axis(output.logits, classes[:, jnp.newaxis], axis=1)
            # The gradient of the sum is that of each image's logit: no image influences another's.
            return logits.sum(), output

        weights = jax.eval_shape(lambda: run_model(model, params, images, normalization).attention)
        zeros = jnp.zeros(weights.shape, weights.dtype)
        attention_gradient, output = jax.grad(class_logits, has_aux=True)(zeros)
        return output, attention_gradient

    return gradient


def empty_attention(info: WeightsInfo, count: int) -> np.ndarray:
    """Return an array for the attention of `count` images, float32 [L, count, H, T, T].

    Raises:
      MemoryError: it takes more memory than is free.
    """
    s, tokens = info.model, info.num_tokens
    check_free_host_memory(count * s.num_layers * attention_bytes(s, info.image_shape))
    return np.empty((s.num_layers, count, s.num_heads, tokens, tokens), np.float32)


def attention_chunks(
    num_images: int, settings: ModelSettings, image_shape: ImageShape
) -> Iterator[slice]:
    """Yield slices of images whose attention takes at most CHUNK_BYTES, or slices of one image.

    Args:
      num_images: number of images of all chunks.
      settings: the architecture.
      image_shape: height, width and channels.
    """
    bytes_per_image = settings.num_layers * attention_bytes(settings, image_shape)
    size = max(1, CHUNK_BYTES // bytes_per_image)
    for start in range(0, num_images, size):
        yield slice(start, start + size)
