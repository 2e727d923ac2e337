"""AdamW or Muon with warm-up and cosine, over all parameters as one flat vector.

One vector instead of dozens of small arrays: on a CPU the update of many small arrays
costs more in overhead than in arithmetic.
"""

from collections.abc import Callable

import haiku as hk
import jax
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from optax.contrib import MuonDimensionNumbers, muon

from vit_hk.params import TrainSettings


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
    mask: np.ndarray,
    unravel: Callable[[jax.Array], hk.Params],
) -> optax.GradientTransformation:
    """Build AdamW (arXiv 1711.05101), or Muon with the same decay, for a flat parameter vector.

    The optimizer maps gradients float32 [num_params] to updates of the same shape.

    Args:
      settings: grad_clip is the maximum global norm (0 = off), weight_decay the rate.
      schedule: step -> learning rate.
      mask: float32 [num_params], from `decay_mask`.
      unravel: maps the vector to the model's parameters.
    """
    clip = optax.clip_by_global_norm(settings.grad_clip) if settings.grad_clip else optax.identity()
    # Not optax.add_decayed_weights: its mask selects whole leaves, and the vector is one leaf.
    decay = optax.stateless(lambda updates, x: updates + settings.weight_decay * mask * x)
    direction = optax.scale_by_adam() if settings.optimizer == "adamw" else _scale_by_muon(unravel)
    return optax.chain(clip, direction, decay, optax.scale_by_learning_rate(schedule))


def _scale_by_muon(unravel: Callable[[jax.Array], hk.Params]) -> optax.GradientTransformation:
    """Build Muon for the matrices of the blocks and NAdam for all else, for a flat vector.

    Updates of Muon are scaled to a root mean square of 0.2, as Adam's updates have, so that both
    use the same learning rate (arXiv 2502.16982, equation 4). optax combines Muon with NAdam, which
    is Adam with Nesterov momentum. The queries, keys and values of a block count as one matrix
    [D, 3 * D], as they are stored.
    """
    # A learning rate of -1 keeps the sign: the caller scales by the negative learning rate.
    transform = muon(-1.0, consistent_rms=0.2, muon_weight_dimension_numbers=_matrices_of_blocks)

    def init(flat: jax.Array) -> optax.OptState:
        return transform.init(unravel(flat))

    def update(
        flat: jax.Array, state: optax.OptState, params: jax.Array
    ) -> tuple[jax.Array, optax.OptState]:
        updates, state = transform.update(unravel(flat), state, unravel(params))
        return ravel_pytree(updates)[0], state

    return optax.GradientTransformation(init, update)


def _matrices_of_blocks(params: hk.Params) -> dict[str, dict[str, MuonDimensionNumbers | None]]:
    """Return dimension numbers for the parameters that Muon updates, and None for all others."""
    return {
        module: {
            name: MuonDimensionNumbers() if "/block_" in module and name == "w" else None
            for name in leaves
        }
        for module, leaves in params.items()
    }
