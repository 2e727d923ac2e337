"""Run a trained model over images."""

from collections.abc import Callable, Iterator

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from vit_hk.dataset import normalize
from vit_hk.division import Division
from vit_hk.model.vit import ViTOutput
from vit_hk.params import ModelSettings

CHUNK_BYTES = 2**28  # of the attention of all layers that is held at a time


def make_predictor(
    model: hk.Transformed, mean: list[float], std: list[float], division: Division
) -> Callable[[hk.Params, np.ndarray], np.ndarray]:
    """A function (parameters, uint8 [N, height, width, channels]) -> logits float32 [N, C].

    It works through the images a batch of `division` at a time, each image once. The last batch is
    padded: one shape is compiled, however many images come.
    """

    def predict_share(params: hk.Params, share: jax.Array) -> jax.Array:
        pieces = share.reshape(-1, division.piece, *share.shape[1:])
        logits = jax.lax.map(
            lambda piece: run_model(model, params, piece, mean, std).logits, pieces
        )
        return logits.reshape(len(share), -1)

    each = PartitionSpec("batch")
    predict_batch = jax.jit(
        jax.shard_map(
            predict_share, mesh=division.mesh, in_specs=(PartitionSpec(), each), out_specs=each,
            check_vma=False,
        )
    )  # fmt: skip

    def predict(params: hk.Params, images: np.ndarray) -> np.ndarray:
        params = jax.device_put(params, division.everywhere)
        padded = np.pad(images, [(0, -len(images) % division.images), (0, 0), (0, 0), (0, 0)])
        batches = padded.reshape(-1, division.images, *images.shape[1:])
        return np.concatenate([predict_batch(params, batch) for batch in batches])[: len(images)]

    return predict


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
