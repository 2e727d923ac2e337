"""Run a trained model over images."""

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

from vit_hk.dataset import normalize
from vit_hk.model.vit import ViTOutput


def make_predictor(
    model: hk.Transformed, mean: list[float], std: list[float], batch_size: int
) -> jax.stages.Wrapped:
    """A compiled function (parameters, uint8 [N, height, width, channels]) -> logits [N, C].

    It works through the images `batch_size` at a time, each image once.
    """

    def predict_batch(params: hk.Params, images: jax.Array) -> jax.Array:
        return run_model(model, params, images, mean, std).logits

    @jax.jit
    def predict(params: hk.Params, images: jax.Array) -> jax.Array:
        # lax.map would compile a remainder on its own; padding keeps one shape.
        count, size = len(images), min(batch_size, len(images))
        padding = [(0, -count % size), (0, 0), (0, 0), (0, 0)]
        batches = jnp.pad(images, padding).reshape(-1, size, *images.shape[1:])
        logits = jax.lax.map(lambda batch: predict_batch(params, batch), batches)
        return logits.reshape(-1, logits.shape[-1])[:count]

    return predict


def run_model(
    model: hk.Transformed,
    params: hk.Params,
    images: jax.Array | np.ndarray,
    mean: list[float],
    std: list[float],
) -> ViTOutput:
    """One forward pass, without dropout, over uint8 images [B, height, width, channels]."""
    scaled = normalize(images, np.array(mean, np.float32), np.array(std, np.float32))
    return model.apply(params, None, scaled, is_training=False)
