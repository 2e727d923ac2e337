"""AdamW or Muon with warm-up and cosine, over all parameters as one flat vector.

One vector instead of dozens of small arrays: on a CPU the update of many small pieces
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
    """Step -> learning rate: linear from 0 to the peak, then a cosine down to 0."""
    steps = settings.epochs * steps_per_epoch
    warmup = round(settings.warmup_epochs * steps_per_epoch)
    return optax.warmup_cosine_decay_schedule(
        init_value=0.0,
        peak_value=settings.learning_rate,
        warmup_steps=min(warmup, steps - 1),  # the cosine needs a step, however few there are
        decay_steps=steps,
    )


def decay_mask(params: hk.Params) -> np.ndarray:
    """Float32 [P]: 1 for numbers of weight matrices, 0 for biases, norms and tokens."""
    marks = [
        np.full(numbers.size, path[-1].key == "w", np.float32)
        for path, numbers in jax.tree_util.tree_leaves_with_path(params)  # as ravel_pytree goes
    ]
    return np.concatenate(marks)


def make_optimizer(
    settings: TrainSettings,
    schedule: optax.Schedule,
    mask: np.ndarray,
    unravel: Callable[[jax.Array], hk.Params],
) -> optax.GradientTransformation:
    """AdamW (arXiv 1711.05101), or Muon with the same decay, on a flat float32 vector [P].

    Args:
      settings: grad_clip is the largest global norm (0 = off), weight_decay the rate.
      schedule: step -> learning rate.
      mask: float32 [P], from `decay_mask`.
      unravel: makes parameters of the vector.
    """
    clip = optax.clip_by_global_norm(settings.grad_clip) if settings.grad_clip else optax.identity()
    decay = optax.stateless(lambda updates, x: updates + settings.weight_decay * mask * x)
    direction = optax.scale_by_adam() if settings.optimizer == "adamw" else _scale_by_muon(unravel)
    return optax.chain(clip, direction, decay, optax.scale_by_learning_rate(schedule))


def _scale_by_muon(unravel: Callable[[jax.Array], hk.Params]) -> optax.GradientTransformation:
    """Muon for the matrices of the blocks, NAdam for all else, on a flat float32 vector [P].

    A root mean square of 0.2, as Adam's updates have, lets both share the learning rate
    (arXiv 2502.16982, equation 4). NAdam, which is Adam with Nesterov's momentum, is optax's
    choice beside Muon.
    """
    # A learning rate of -1 leaves the direction as it is: the caller turns it downhill.
    whole = muon(-1.0, consistent_rms=0.2, muon_weight_dimension_numbers=_matrices_of_blocks)

    def init(flat: jax.Array) -> optax.OptState:
        return whole.init(unravel(flat))

    def update(
        flat: jax.Array, state: optax.OptState, params: jax.Array
    ) -> tuple[jax.Array, optax.OptState]:
        updates, state = whole.update(unravel(flat), state, unravel(params))
        return ravel_pytree(updates)[0], state

    return optax.GradientTransformation(init, update)


def _matrices_of_blocks(params: hk.Params) -> dict[str, dict[str, MuonDimensionNumbers | None]]:
    """Marks what Muon is made for; patch embedding and head are left to NAdam."""
    return {
        module: {
            name: MuonDimensionNumbers() if "/block_" in module and name == "w" else None
            for name in leaves
        }
        for module, leaves in params.items()
    }
