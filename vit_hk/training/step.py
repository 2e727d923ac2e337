"""One training step, and a compiled run of many."""

from collections.abc import Callable
from typing import NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jax.sharding import PartitionSpec

from vit_hk.division import Division
from vit_hk.params import TrainSettings
from vit_hk.training.pieces import Piece, Split, prepare_pieces


class TrainState(NamedTuple):
    """All that decides how training goes on. P is the number of parameters."""

    step: jax.Array  # int32 [], updates done so far
    params: jax.Array  # float32 [P]
    ema: jax.Array | None  # float32 [P], moving average of params; None when off
    optimizer: optax.OptState
    epoch_loss: jax.Array  # float32 [], sum of the losses of this epoch's steps


Unravel = Callable[[jax.Array], hk.Params]
_Sums = tuple[jax.Array, hk.Params]  # of losses, of gradients


def cross_entropy(logits: jax.Array, targets: jax.Array, smoothing: float = 0.0) -> jax.Array:
    """Mean cross-entropy in nats; targets smoothed as in arXiv 1512.00567, section 7.

    Args:
      logits: [B, C].
      targets: [B, C], the probabilities of the classes.
      smoothing: share of each target that is spread evenly over all C classes.
    """
    return optax.softmax_cross_entropy(logits, optax.smooth_labels(targets, smoothing)).mean()


def init_state(
    params: jax.Array, optimizer: optax.GradientTransformation, settings: TrainSettings
) -> TrainState:
    """The state before the first step, from flat parameters [P]."""
    return TrainState(
        step=jnp.int32(0),
        params=params,
        ema=jnp.copy(params) if settings.ema_decay else None,
        optimizer=optimizer.init(params),
        epoch_loss=jnp.float32(0),
    )


def epoch_order(seed: int, epoch: int, count: int) -> np.ndarray:
    """The order of the images in an epoch, int32 [count]; follows from seed and epoch alone.

    NumPy draws it: on a CPU JAX takes fifty times as long.
    """
    return np.random.default_rng([seed, epoch]).permutation(count).astype(np.int32)


def make_run_steps(
    model: hk.Transformed,
    unravel: Unravel,
    optimizer: optax.GradientTransformation,
    settings: TrainSettings,
    steps_per_epoch: int,
    mean: list[float],
    std: list[float],
    seed: int,
    division: Division,
) -> jax.stages.Wrapped:
    """A compiled function (state, split, order, last) -> (state, finite).

    It takes steps in the epoch's order of images until `last` steps are done, one compiled loop
    however many they are, so that an epoch can run as one call or as several with the same bytes;
    `last` must not lie beyond the end of the epoch. Each device has all of the arguments, and
    computes the gradient of its share of a batch. Randomness follows from the seed, the number of
    the step, and that of the piece in the batch. When a loss, a gradient or the new parameters are
    not finite, the update is not applied, the loop ends, and `finite` is False.

    Args:
      model: its logits are trained.
      unravel: makes parameters of a vector float32 [P].
      optimizer: of such vectors.
      settings: batch_size, label_smoothing, sam_rho, ema_decay and augment count here.
      steps_per_epoch: after so many steps the order begins anew.
      mean: of each channel of the images, on the scale 0 to 1.
      std: the same.
      seed: of all that is random.
      division: of a batch of `settings.batch_size`.
    """
    batch, mesh, pieces = settings.batch_size, division.mesh, division.pieces
    step_key = jax.random.fold_in(jax.random.key(seed), 1)

    def loss_of(params: hk.Params, some: Piece) -> jax.Array:
        logits = model.apply(params, some.key, some.images, is_training=True).logits
        targets = some.targets(logits.shape[-1])
        return cross_entropy(logits, targets, settings.label_smoothing)

    def loss_and_gradient(flat: jax.Array, prepared: Piece) -> tuple[jax.Array, jax.Array]:
        """Means over the batch, of which each device has its own pieces."""

        def add_piece(sums: _Sums, some: Piece) -> tuple[_Sums, None]:
            found = jax.value_and_grad(loss_of)(params, some)
            return jax.tree.map(jnp.add, sums, found), None

        params = unravel(flat)
        nothing = jnp.float32(0), jax.tree.map(jnp.zeros_like, params)
        (loss, gradient), _ = jax.lax.scan(add_piece, nothing, prepared)
        sums = jax.lax.psum((loss, ravel_pytree(gradient)[0]), "batch")
        return jax.tree.map(lambda x: x / (pieces * mesh.size), sums)

    def one_step(state: TrainState, split: Split, order: jax.Array) -> tuple[TrainState, jax.Array]:
        position = state.step % steps_per_epoch
        chosen = jax.lax.dynamic_slice(order, (position * batch,), (batch,))
        key = jax.random.fold_in(step_key, state.step)
        prepared = prepare_pieces(key, split, chosen, settings.augment, mean, std, division)
        loss, gradient = loss_and_gradient(state.params, prepared)
        if settings.sam_rho:
            # Sharpness-aware minimization (arXiv 2010.01412, equations 2 and 3): the same batch's
            # gradient at a place uphill. Twice the work, for a minimum that is flat around.
            uphill = settings.sam_rho * gradient / (optax.tree.norm(gradient) + 1e-12)
            _, gradient = loss_and_gradient(state.params + uphill, prepared)
        updates, opt = optimizer.update(gradient, state.optimizer, state.params)
        params = optax.apply_updates(state.params, updates)
        ema = None
        if state.ema is not None:
            # A short memory at first, so that the random start is forgotten.
            decay = jnp.minimum(settings.ema_decay, (1 + state.step) / (10 + state.step))
            ema = decay * state.ema + (1 - decay) * params
        epoch_loss = jnp.where(position == 0, 0.0, state.epoch_loss) + loss
        finite = jnp.isfinite(loss) & jnp.isfinite(optax.tree.norm(gradient))
        finite &= jnp.isfinite(params).all()  # a huge learning rate alone can overflow
        return TrainState(state.step + 1, params, ema, opt, epoch_loss), finite

    def run(
        state: TrainState, split: Split, order: jax.Array, last: jax.Array
    ) -> tuple[TrainState, jax.Array]:
        def body(carry: tuple[TrainState, jax.Array]) -> tuple[TrainState, jax.Array]:
            before, _ = carry
            after, finite = one_step(before, split, order)
            return jax.tree.map(lambda a, b: jnp.where(finite, a, b), after, before), finite

        def unfinished(carry: tuple[TrainState, jax.Array]) -> jax.Array:
            state, finite = carry
            return (state.step < last) & finite

        return jax.lax.while_loop(unfinished, body, (state, jnp.bool_(True)))

    on_each_device = jax.shard_map(
        run,
        mesh=mesh,
        in_specs=PartitionSpec(),
        out_specs=PartitionSpec(),
        check_vma=False,  # JAX cannot see that a sum over the devices makes them agree
    )
    return jax.jit(on_each_device, donate_argnums=0)
