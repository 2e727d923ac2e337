"""AdamW with warm-up and cosine, over all parameters as one flat vector.

One vector instead of dozens of small arrays: on a CPU the update of many small pieces
costs more in overhead than in arithmetic.
"""

import haiku as hk
import jax
import numpy as np
import optax

from vit_hk.params import TrainSettings


def learning_rate_schedule(
    settings: TrainSettings, epochs: int, steps_per_epoch: int
) -> optax.Schedule:
    """Step -> learning rate: linear from 0 to the peak, then a cosine down to 0."""
    return optax.warmup_cosine_decay_schedule(
        init_value=0.0,
        peak_value=settings.learning_rate,
        warmup_steps=round(settings.warmup_epochs * steps_per_epoch),
        decay_steps=epochs * steps_per_epoch,
    )


def decay_mask(params: hk.Params) -> np.ndarray:
    """Float32 [P]: 1 for numbers of weight matrices, 0 for biases, norms and tokens."""
    marks = [
        np.full(numbers.size, path[-1].key == "w", np.float32)
        for path, numbers in jax.tree_util.tree_leaves_with_path(params)  # as ravel_pytree goes
    ]
    return np.concatenate(marks)


def make_optimizer(
    settings: TrainSettings, schedule: optax.Schedule, mask: np.ndarray
) -> optax.GradientTransformation:
    """AdamW (arXiv 1711.05101) on a flat float32 vector [P].

    Args:
      settings: grad_clip is the largest global norm (0 = off), weight_decay the rate.
      schedule: step -> learning rate.
      mask: float32 [P], from `decay_mask`.
    """
    clip = optax.clip_by_global_norm(settings.grad_clip) if settings.grad_clip else optax.identity()
    decay = optax.stateless(lambda updates, x: updates + settings.weight_decay * mask * x)
    return optax.chain(clip, optax.scale_by_adam(), decay, optax.scale_by_learning_rate(schedule))
