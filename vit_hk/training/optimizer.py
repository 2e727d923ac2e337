"""AdamW or Muon with warm-up and cosine, over all parameters as one flat vector.

All parameters are one vector, since updating dozens of small arrays costs a CPU more in overhead
than in arithmetic.
"""

from collections.abc import Callable

import haiku as hk
import jax
import numpy as np
import optax

from vit_hk.params import TrainSettings
from vit_hk.training.layer_decay import scale_by_layer
from vit_hk.training.muon import scale_by_muon


def learning_rate_schedule(settings: TrainSettings, steps_per_epoch: int) -> optax.Schedule:
    """Return the schedule step -> learning rate: linear warm-up from 0, then cosine decay to 0."""
    steps = settings.epochs * steps_per_epoch
    warmup = round(settings.warmup_epochs * steps_per_epoch)
    return optax.warmup_cosine_decay_schedule(
        init_value=0.0,
        peak_value=settings.learning_rate,
        warmup_steps=min(warmup, steps - 1),  # the cosine needs at least one step
        decay_steps=steps,
    )


def decay_mask(params: hk.Params) -> np.ndarray:
    """Return float32 [num_params]: 1 for weight matrices, 0 for biases, norms and tokens."""
    parts = [
        np.full(leaf.size, path[-1].key == "w", np.float32)
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)  # in ravel_pytree's order
    ]
    return np.concatenate(parts)


def make_optimizer(
    settings: TrainSettings,
    schedule: optax.Schedule,
    params: hk.Params,
    unravel: Callable[[jax.Array], hk.Params],
    num_layers: int,
    num_devices: int = 1,
) -> optax.GradientTransformation:
    """Build AdamW (arXiv 1711.05101), or Muon with the same decay, for a flat parameter vector.

    The optimizer maps gradients float32 [num_params] to updates of the same shape.

    Args:
      settings: grad_clip is the maximum global norm (0 = off), weight_decay the rate.
      schedule: step -> learning rate.
      params: the trained parameters, of which only the names and shapes are read.
      unravel: maps the vector to them.
      num_layers: L.
      num_devices: number of devices of the mesh, which share the work of Muon.
    """
    clip = optax.clip_by_global_norm(settings.grad_clip) if settings.grad_clip else optax.identity()
    mask = decay_mask(params)
    # Not optax.add_decayed_weights: its mask selects whole leaves, and the vector is one leaf.
    decay = optax.stateless(lambda updates, x: updates + settings.weight_decay * mask * x)
    is_adamw = settings.optimizer == "adamw"
    direction = optax.scale_by_adam() if is_adamw else scale_by_muon(unravel, num_devices)
    optimizer = optax.chain(clip, direction, decay, optax.scale_by_learning_rate(schedule))
    if settings.layer_decay < 1:
        by_layer = scale_by_layer(params, settings.layer_decay, num_layers)
        optimizer = optax.chain(optimizer, by_layer)
    return optimizer
