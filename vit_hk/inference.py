"""Run a trained model over images."""

import functools
from collections.abc import Callable, Iterator

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

from vit_hk.dataset import normalize
from vit_hk.model.vit import ViTOutput
from vit_hk.params import ModelSettings

CACHED_NUMBERS = 2**19  # of tokens that a CPU's caches hold while a batch is computed
CHUNK_BYTES = 2**28  # of the attention of all layers that is held at a time


def make_predictor(
    model: hk.Transformed, mean: list[float], std: list[float], batch_size: int
) -> Callable[[hk.Params, np.ndarray], np.ndarray]:
    """A function (parameters, uint8 [N, height, width, channels]) -> logits float32 [N, C].

    It works through the images `batch_size` at a time, each image once. The last batch is
    padded: one shape is compiled, however many images come.
    """

    @jax.jit
    def predict_batch(params: hk.Params, images: jax.Array) -> jax.Array:
        forward = functools.partial(run_model, model, mean=mean, std=std)
        output = jax.eval_shape(forward, params, images)
        size = _images_in_caches(output) if jax.default_backend() == "cpu" else batch_size
        pieces = images.reshape(-1, size, *images.shape[1:])
        logits = jax.lax.map(lambda piece: forward(params, piece).logits, pieces)
        return logits.reshape(batch_size, -1)

    def predict(params: hk.Params, images: np.ndarray) -> np.ndarray:
        padding = [(0, -len(images) % batch_size), (0, 0), (0, 0), (0, 0)]
        padded = np.pad(images, padding)
        starts = range(0, len(images), batch_size)
        logits = [predict_batch(params, padded[start : start + batch_size]) for start in starts]
        return np.concatenate(logits)[: len(images)]

    return predict


def _images_in_caches(output: ViTOutput) -> int:
    """The largest part of a batch whose tokens, [b * T, D], stay in the caches between layers."""
    batch, width = output.features.shape
    tokens = output.attention.shape[-1]
    fit = CACHED_NUMBERS // (tokens * width)
    return max(size for size in range(1, batch + 1) if batch % size == 0 and size <= max(1, fit))


def run_model(
    model: hk.Transformed,
    params: hk.Params,
    images: jax.Array | np.ndarray,
    mean: list[float],
    std: list[float],
) -> ViTOutput:
    """One forward pass, without dropout, over uint8 images [B, height, width, channels]."""
    return model.apply(params, None, _scaled(images, mean, std), is_training=False)


def _scaled(
    images: jax.Array | np.ndarray, mean: list[float], std: list[float]
) -> jax.Array | np.ndarray:
    return normalize(images, np.array(mean, np.float32), np.array(std, np.float32))


def make_attention_gradient(
    model: hk.Transformed, mean: list[float], std: list[float]
) -> jax.stages.Wrapped:
    """A compiled function that says how the attention of each image acts on one class.

    It takes (parameters, uint8 images [B, height, width, channels], classes int [B]) and
    returns, from one forward and one backward pass, the ViTOutput and the gradient
    float32 [L, B, H, query T, key T] of each image's logit of its class with respect to its
    attention weights, all that follows in later layers included.
    """

    @jax.jit
    def gradient(
        params: hk.Params, images: jax.Array, classes: jax.Array
    ) -> tuple[ViTOutput, jax.Array]:
        def chosen_logits(offset: jax.Array) -> tuple[jax.Array, ViTOutput]:
            scaled = _scaled(images, mean, std)
            output = model.apply(params, None, scaled, is_training=False, attention_offset=offset)
            chosen = jnp.take_along_axis(output.logits, classes[:, jnp.newaxis], axis=1)
            return chosen.sum(), output  # no image acts on another's logits

        weights = jax.eval_shape(lambda: run_model(model, params, images, mean, std).attention)
        zeros = jnp.zeros(weights.shape, weights.dtype)
        slope, output = jax.grad(chosen_logits, has_aux=True)(zeros)
        return output, slope

    return gradient


def attention_chunks(count: int, num_patches: int, settings: ModelSettings) -> Iterator[slice]:
    """Parts of `count` images, each small enough that its attention fits into memory."""
    tokens = settings.num_tokens(num_patches)
    numbers = settings.num_layers * settings.num_heads * tokens**2  # float32, of an image
    size = max(1, CHUNK_BYTES // (4 * numbers))
    for start in range(0, count, size):
        yield slice(start, start + size)
