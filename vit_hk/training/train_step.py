"""One training step, and a compiled loop over many.

`TrainStep.update` is the step: microbatches, accumulated loss and gradient, all-reduce,
optimizer, moving average. `build_train_step` puts its parts together.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jax.sharding import PartitionSpec

from vit_hk.data.normalization import Normalization
from vit_hk.model.vit import make_model, parameter_shapes
from vit_hk.params import Params, TrainSettings
from vit_hk.runtime.batch_layout import AXIS, BatchLayout, layout_for_training
from vit_hk.training.data import TrainingData, epoch_order
from vit_hk.training.microbatches import Microbatch, Split, prepare_microbatches
from vit_hk.training.optimizer import decay_mask, learning_rate_schedule, make_optimizer

LossAndGradient = tuple[jax.Array, Any]  # float32 [], and the gradient


class TrainState(NamedTuple):
    """All that decides how a training continues; P is the number of parameters."""

    step: jax.Array  # int32 [], number of updates so far
    params: jax.Array  # float32 [P]
    ema: jax.Array | None  # float32 [P], moving average of params; None when off
    optimizer: optax.OptState
    epoch_loss: jax.Array  # float32 [], sum of the losses of this epoch's steps


RunSteps = Callable[[TrainState, Split, np.ndarray, jax.Array], tuple[TrainState, jax.Array]]


@dataclasses.dataclass(frozen=True)
class TrainStep:
    """The update of a model's parameters, with all that is fixed during a training.

    The state holds the parameters as one flat vector.

    Attributes:
      model: the model whose logits are trained.
      param_shapes: its parameters as jax.ShapeDtypeStruct.
      optimizer: optimizer of flat vectors.
      settings: batch_size, label_smoothing, sam_rho, ema_decay and augment count here.
      normalization: scale of the images.
      layout: layout of a batch of `settings.batch_size` images.
      steps_per_epoch: number of steps after which the order of the images begins anew.
      key: JAX random key; with the number of a step and of a microbatch it decides all that is
        random.
    """

    model: hk.Transformed
    param_shapes: hk.Params
    optimizer: optax.GradientTransformation
    settings: TrainSettings
    normalization: Normalization
    layout: BatchLayout
    steps_per_epoch: int
    key: jax.Array

    def update(
        self, state: TrainState, split: Split, order: jax.Array
    ) -> tuple[TrainState, jax.Array]:
        """Take one step, on each device with its share of the batch.

        Args:
          state: the state before the step.
          split: all training images and labels.
          order: int32 [N], the order of the images in this epoch.

        Returns:
          The state after the step, and whether loss, gradient and parameters are finite.
        """
        s = self.settings
        step_in_epoch = state.step % self.steps_per_epoch
        indices = jax.lax.dynamic_slice(order, (step_in_epoch * s.batch_size,), (s.batch_size,))
        key = jax.random.fold_in(self.key, state.step)
        microbatches = prepare_microbatches(
            key, split, indices, s.augment, self.normalization, self.layout
        )
        loss, gradient = self.loss_and_gradient(state.params, microbatches)
        if s.sam_rho:
            # Sharpness-aware minimization (arXiv 2010.01412, equations 2 and 3): the gradient of
            # the same batch at a point uphill. Twice the work, for a flat minimum.
            ascent = s.sam_rho * gradient / (optax.tree.norm(gradient) + 1e-12)
            _, gradient = self.loss_and_gradient(state.params + ascent, microbatches)
        updates, optimizer_state = self.optimizer.update(gradient, state.optimizer, state.params)
        params = optax.apply_updates(state.params, updates)
        ema = None
        if state.ema is not None:
            # A short memory at first, so that the random initial weights are forgotten.
            decay = jnp.minimum(s.ema_decay, (1 + state.step) / (10 + state.step))
            ema = decay * state.ema + (1 - decay) * params
        epoch_loss = jnp.where(step_in_epoch == 0, 0.0, state.epoch_loss) + loss
        is_finite = jnp.isfinite(loss) & jnp.isfinite(optax.tree.norm(gradient))
        is_finite &= jnp.isfinite(params).all()  # a huge learning rate alone can overflow
        return TrainState(state.step + 1, params, ema, optimizer_state, epoch_loss), is_finite

    def loss_and_gradient(self, flat: jax.Array, microbatches: Microbatch) -> LossAndGradient:
        """Return the means over the batch of the loss and its gradient.

        Args:
          flat: float32 [P].
          microbatches: this device's microbatches, along the first axis.
        """

        def accumulate(
            sums: LossAndGradient, microbatch: Microbatch
        ) -> tuple[LossAndGradient, None]:
            found = jax.value_and_grad(self.loss)(params, microbatch)
            return jax.tree.map(jnp.add, sums, found), None

        params = self.unravel(flat)
        zeros = jnp.float32(0), jax.tree.map(jnp.zeros_like, params)
        (loss, gradient), _ = jax.lax.scan(accumulate, zeros, microbatches)
        sums = jax.lax.psum((loss, ravel_pytree(gradient)[0]), AXIS)  # the all-reduce
        count = self.layout.num_microbatches * self.layout.mesh.size
        return jax.tree.map(lambda x: x / count, sums)

    def loss(self, params: hk.Params, microbatch: Microbatch) -> jax.Array:
        """Return the mean loss of one microbatch, in nats."""
        logits = self.model.apply(
            params, microbatch.key, microbatch.images, is_training=True
        ).logits
        targets = microbatch.targets(logits.shape[-1])
        return cross_entropy(logits, targets, self.settings.label_smoothing)

    def jit(self) -> jax.stages.Wrapped:
        """Return a compiled function (state, split, order, last) -> (state, is_finite).

        It takes steps until `last` steps are done, in one compiled loop however many they are, so
        that an epoch can run as one call or as several with the same bytes; `last` must not lie
        beyond the end of the epoch. All arguments are replicated. When the loss, the gradient or
        the new parameters of a step are not finite, that update is not applied, the loop ends,
        and `is_finite` is False.
        """

        def run(
            state: TrainState, split: Split, order: jax.Array, last: jax.Array
        ) -> tuple[TrainState, jax.Array]:
            def body(carry: tuple[TrainState, jax.Array]) -> tuple[TrainState, jax.Array]:
                before, _ = carry
                after, is_finite = self.update(before, split, order)
                state = jax.tree.map(lambda a, b: jnp.where(is_finite, a, b), after, before)
                return state, is_finite

            def is_unfinished(carry: tuple[TrainState, jax.Array]) -> jax.Array:
                state, is_finite = carry
                return (state.step < last) & is_finite

            return jax.lax.while_loop(is_unfinished, body, (state, jnp.bool_(True)))

        on_each_device = jax.shard_map(
            run,
            mesh=self.layout.mesh,
            in_specs=PartitionSpec(),
            out_specs=PartitionSpec(),
            check_vma=False,  # JAX cannot infer that the all-reduce makes the devices agree
        )
        return jax.jit(on_each_device, donate_argnums=0)

    def compile(self, split: Split) -> RunSteps:
        """Compile the loop of `jit` from shapes alone, before there are parameters."""
        flat, _ = ravel_pytree(_zeros(self.param_shapes))
        state = jax.eval_shape(self._first_state, flat)
        order = epoch_order(0, 0, len(split.labels))
        return self.jit().lower(state, split, order, jnp.int32(0)).compile()

    def init_state(self, params: hk.Params) -> TrainState:
        """Return the state before the first step, replicated on the devices."""
        state = jax.jit(self._first_state)(ravel_pytree(params)[0])
        return jax.device_put(state, self.layout.replicated)

    def _first_state(self, flat: jax.Array) -> TrainState:
        return TrainState(
            step=jnp.int32(0),
            params=flat,
            ema=jnp.copy(flat) if self.settings.ema_decay else None,
            optimizer=self.optimizer.init(flat),
            epoch_loss=jnp.float32(0),
        )

    def model_params(self, state: TrainState) -> hk.Params:
        """Return the model's parameters: the moving average where one is kept, else the weights.

        The vector is split on the host, which needs no compilation.
        """
        leaves, tree = jax.tree.flatten(self.param_shapes)
        ends = np.cumsum([leaf.size for leaf in leaves])[:-1]
        parts = np.split(np.asarray(state.params if state.ema is None else state.ema), ends)
        arrays = [part.reshape(leaf.shape) for part, leaf in zip(parts, leaves, strict=True)]
        return jax.device_put(jax.tree.unflatten(tree, arrays))

    def replicate(self, images: np.ndarray, labels: np.ndarray) -> Split:
        """Put all training images and labels on each device."""
        return Split(*jax.device_put((images, labels), self.layout.replicated))

    @functools.cached_property
    def unravel(self) -> Callable[[jax.Array], hk.Params]:
        """The function from a vector float32 [P] to the model's parameters."""
        return ravel_pytree(_zeros(self.param_shapes))[1]


def build_train_step(params: Params, data: TrainingData, num_classes: int) -> TrainStep:
    """Build the training step that params.yaml describes.

    Args:
      params: all settings.
      data: the training images; their number and shape count here.
      num_classes: C.
    """
    settings, image_shape = params.train, data.x_train.shape[1:]
    model = make_model(
        params.model, num_classes, settings.precision, settings.scan_layers, settings.remat
    )
    zeros = _zeros(parameter_shapes(model, image_shape))
    steps_per_epoch = len(data.x_train) // settings.batch_size
    schedule = learning_rate_schedule(settings, steps_per_epoch)
    return TrainStep(
        model=model,
        param_shapes=parameter_shapes(model, image_shape),
        optimizer=make_optimizer(settings, schedule, decay_mask(zeros), ravel_pytree(zeros)[1]),
        settings=settings,
        normalization=data.normalization,
        layout=layout_for_training(settings.batch_size, params.model.num_tokens(image_shape)),
        # The images that remain after the last full batch wait for another order.
        steps_per_epoch=steps_per_epoch,
        key=jax.random.fold_in(jax.random.key(params.seed), 1),
    )


def cross_entropy(logits: jax.Array, targets: jax.Array, smoothing: float = 0.0) -> jax.Array:
    """Compute the mean cross-entropy in nats, with label smoothing (arXiv 1512.00567, section 7).

    Args:
      logits: [B, C].
      targets: [B, C], the probabilities of the classes.
      smoothing: share of each target that is spread evenly over all C classes.
    """
    return optax.softmax_cross_entropy(logits, optax.smooth_labels(targets, smoothing)).mean()


def _zeros(shapes: hk.Params) -> hk.Params:
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
