"""The training step, and a compiled loop over many steps.

`TrainStep.update` is the step: microbatches, accumulated loss and gradient, all-reduce,
optimizer, moving average. `build_train_step` creates it from the settings.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jax.sharding import PartitionSpec

from vit_hk.data.normalization import Normalization
from vit_hk.kernels.accumulate import accumulate
from vit_hk.kernels.compiler import is_supported
from vit_hk.model.vit import make_model, parameter_shapes
from vit_hk.params import Config, TrainSettings
from vit_hk.runtime.all_reduce import all_reduce
from vit_hk.runtime.batch_layout import BatchLayout
from vit_hk.runtime.cluster import replicate
from vit_hk.training.class_weights import balanced_class_weights
from vit_hk.training.data import TrainingData
from vit_hk.training.device_data import CallInputs, take_images
from vit_hk.training.feed import Feed
from vit_hk.training.freezing import merge_frozen, split_frozen
from vit_hk.training.layouts import training_layout
from vit_hk.training.memory import check_training_fits
from vit_hk.training.microbatches import Microbatch, prepare_microbatches
from vit_hk.training.optimizer import learning_rate_schedule, make_optimizer

Unravel = Callable[[jax.Array], hk.Params]  # float32 [num_params] to the trained parameters
LossAndGradient = tuple[jax.Array, jax.Array]  # float32 [] and [num_params]
LossAndGradientTree = tuple[jax.Array, hk.Params]  # float32 [], and a pytree like the parameters


class TrainState(NamedTuple):
    """Training state: step, parameters, moving average, optimizer state.

    num_params counts the parameters that are trained, not those that are frozen.
    """

    step: jax.Array  # int32 [], number of updates so far
    flat_params: jax.Array  # float32 [num_params]
    ema: jax.Array | None  # float32 [num_params], moving average of flat_params; None when off
    opt_state: optax.OptState
    epoch_loss: jax.Array  # float32 [], sum of the losses of this epoch's steps
    frozen: hk.Params  # the parameters of `train.freeze`, which no step changes; often empty


RunSteps = Callable[[TrainState, CallInputs], tuple[TrainState, jax.Array]]


@dataclasses.dataclass(frozen=True)
class TrainStep:
    """The update of a model's parameters, with all that is fixed during a training.

    The state holds the trained parameters as one flat vector, and the frozen ones beside it.

    Attributes:
      model: the model whose logits are trained.
      param_shapes: its parameters, trained or frozen, as jax.ShapeDtypeStruct.
      unravel: maps float32 [num_params] to the trained parameters.
      optimizer: optimizer of flat vectors.
      schedule: step -> learning rate, that of `optimizer`.
      settings: the training settings.
      normalization: normalization of the images.
      layout: layout of a batch of `settings.batch_size` images.
      steps_per_epoch: number of steps of an epoch; each epoch has another order of the images.
      class_weights: float32 [C], the weights of the classes in the loss; None for equal weights.
      key: JAX random key; the random numbers of an image derive from it, from the number of the
        step and from the image's place in the batch, whatever the layout.
    """

    model: hk.Transformed
    param_shapes: hk.Params
    unravel: Unravel
    optimizer: optax.GradientTransformation
    schedule: optax.Schedule
    settings: TrainSettings
    normalization: Normalization
    layout: BatchLayout
    steps_per_epoch: int
    class_weights: np.ndarray | None
    key: jax.Array

    def update(
        self, state: TrainState, call: CallInputs, is_sharded: bool
    ) -> tuple[TrainState, jax.Array]:
        """Take one step, on each device with its shard of the batch, inside jax.shard_map.

        Args:
          state: the state before the step.
          call: the images of this step and of others.
          is_sharded: whether devices exchange them; see `take_images`.

        Returns:
          The state after the step, and whether loss, gradient and parameters are finite.
        """
        s = self.settings
        step_in_epoch = state.step % self.steps_per_epoch
        own = take_images(call.data, call.rows[state.step - call.start], is_sharded)
        key = jax.random.fold_in(self.key, state.step)
        microbatches = prepare_microbatches(key, own, s.augment, self.normalization, self.layout)
        loss, gradient = self.loss_and_gradient(state.flat_params, state.frozen, microbatches)
        if s.sam_rho:
            # Sharpness-aware minimization (arXiv 2010.01412, equations 2 and 3): the gradient of
            # the same batch at the point of the highest loss nearby. It finds a flatter minimum,
            # and costs a second pass.
            ascent = s.sam_rho * gradient / (optax.tree.norm(gradient) + 1e-12)
            uphill = state.flat_params + ascent
            _, gradient = self.loss_and_gradient(uphill, state.frozen, microbatches)
        updates, opt_state = self.optimizer.update(gradient, state.opt_state, state.flat_params)
        params = optax.apply_updates(state.flat_params, updates)
        ema = None
        if state.ema is not None:
            # As TensorFlow's ExponentialMovingAverage with num_updates: a small decay at first, so
            # that the random initial weights lose their influence.
            decay = jnp.minimum(s.ema_decay, (1 + state.step) / (10 + state.step))
            ema = decay * state.ema + (1 - decay) * params
        epoch_loss = jnp.where(step_in_epoch == 0, 0.0, state.epoch_loss) + loss
        is_finite = jnp.isfinite(loss) & jnp.isfinite(optax.tree.norm(gradient))
        is_finite &= jnp.isfinite(params).all()  # a huge learning rate can overflow them
        after = TrainState(state.step + 1, params, ema, opt_state, epoch_loss, state.frozen)
        return after, is_finite

    def loss_and_gradient(
        self, flat: jax.Array, frozen: hk.Params, microbatches: Microbatch
    ) -> LossAndGradient:
        """Return the means over the batch of the loss and its gradient.

        Args:
          flat: float32 [num_params], the trained parameters.
          frozen: the other parameters, for which no gradient is computed.
          microbatches: this device's microbatches, with a leading axis [num_microbatches].
        """
        params = self.unravel(flat)

        def loss_of(trained: hk.Params, microbatch: Microbatch) -> jax.Array:
            return self.loss(merge_frozen(trained, frozen), microbatch)

        def add_microbatch(sums: jax.Array, microbatch: Microbatch) -> tuple[jax.Array, None]:
            return _add_raveled(sums, jax.value_and_grad(loss_of)(params, microbatch)), None

        zeros = jnp.zeros(1 + flat.size)  # for the loss, and for its gradient
        sums, _ = jax.lax.scan(add_microbatch, zeros, microbatches)
        num_devices = self.layout.mesh.size
        means = all_reduce(sums, num_devices) / (self.layout.num_microbatches * num_devices)
        return means[0], means[1:]

    def loss(self, params: hk.Params, microbatch: Microbatch) -> jax.Array:
        """Return the mean loss of one microbatch, in nats."""
        logits = self.model.apply(params, microbatch.images, microbatch.keys).logits
        targets = microbatch.targets(logits.shape[-1])
        return cross_entropy(logits, targets, self.settings.label_smoothing, self.class_weights)

    def make_loop(self, feed: Feed) -> jax.stages.Wrapped:
        """Return the jitted training loop (state, call) -> (state, is_finite) for calls of a feed.

        It takes steps until `call.stop` steps are done. The number of steps is not a constant of
        the compiled loop, so an epoch can run as one call or as several with the same bytes. The
        state is replicated. When the loss, the gradient or the new parameters of a step are not
        finite, that update is not applied, the loop ends, and `is_finite` is False.
        """

        def run(state: TrainState, call: CallInputs) -> tuple[TrainState, jax.Array]:
            def body(carry: tuple[TrainState, jax.Array]) -> tuple[TrainState, jax.Array]:
                before, _ = carry
                after, is_finite = self.update(before, call, feed.is_sharded)
                state = jax.tree.map(lambda a, b: jnp.where(is_finite, a, b), after, before)
                return state, is_finite

            def is_unfinished(carry: tuple[TrainState, jax.Array]) -> jax.Array:
                state, is_finite = carry
                return (state.step < call.stop) & is_finite

            return jax.lax.while_loop(is_unfinished, body, (state, jnp.bool_(True)))

        on_each_device = jax.shard_map(
            run,
            mesh=self.layout.mesh,
            in_specs=(PartitionSpec(), feed.specs),
            out_specs=PartitionSpec(),
            # The check needs the mesh axes over which each gradient of jax.custom_vjp varies.
            check_vma=False,
        )
        return jax.jit(on_each_device, donate_argnums=0)

    def compile(self, feed: Feed) -> RunSteps:
        """Compile the training loop from shapes alone, before there are parameters."""
        trained, frozen = split_frozen(self.param_shapes, self.settings.freeze)
        num_params = sum(leaf.size for leaf in jax.tree.leaves(trained))
        flat = jax.ShapeDtypeStruct((num_params,), jnp.float32)
        state = jax.eval_shape(self._first_state, flat, frozen)
        return self.make_loop(feed).lower(state, feed.shapes).compile()

    def init_state(self, params: hk.Params) -> TrainState:
        """Return the state before the first step, replicated on the devices."""
        trained, frozen = split_frozen(params, self.settings.freeze)
        state = jax.jit(self._first_state)(ravel_pytree(trained)[0], frozen)
        return replicate(state, self.layout.replicated)

    def _first_state(self, flat: jax.Array, frozen: hk.Params) -> TrainState:
        return TrainState(
            step=jnp.int32(0),
            flat_params=flat,
            ema=jnp.copy(flat) if self.settings.ema_decay else None,
            opt_state=self.optimizer.init(flat),
            epoch_loss=jnp.float32(0),
            frozen=frozen,
        )

    def eval_params(self, state: TrainState) -> hk.Params:
        """Return the parameters to evaluate: the moving average if there is one."""
        return self._all_params(state.flat_params if state.ema is None else state.ema, state.frozen)

    def last_params(self, state: TrainState) -> hk.Params:
        """Return the parameters after the last step, without a moving average."""
        return self._all_params(state.flat_params, state.frozen)

    def _all_params(self, flat: jax.Array, frozen: hk.Params) -> hk.Params:
        """Return all parameters of the model, from the trained ones, float32 [num_params].

        NumPy splits the vector, since `unravel` would be compiled first.
        """
        trained, _ = split_frozen(self.param_shapes, self.settings.freeze)
        leaves, tree = jax.tree.flatten(trained)
        ends = np.cumsum([leaf.size for leaf in leaves])[:-1]
        parts = np.split(np.asarray(flat), ends)
        arrays = [part.reshape(leaf.shape) for part, leaf in zip(parts, leaves, strict=True)]
        weights = merge_frozen(jax.tree.unflatten(tree, arrays), frozen)
        return jax.device_put(jax.tree.map(np.asarray, weights))


def build_train_step(config: Config, data: TrainingData, num_classes: int) -> TrainStep:
    """Build the training step of these settings, after a check of the free memory.

    Args:
      config: all settings.
      data: the training images, whose number, shape and normalization are read.
      num_classes: C.

    Raises:
      MemoryError: a lower bound of the memory that the training takes is more than is free.
    """
    settings, image_shape = config.train, data.x_train.shape[1:]
    layout = training_layout(config, image_shape)
    model = make_model(
        config.model, num_classes, settings.precision, settings.scan_layers, settings.remat
    )
    shapes = parameter_shapes(model, image_shape)
    check_training_fits(config, shapes, image_shape, layout)
    trained, _ = split_frozen(shapes, settings.freeze)
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), trained)
    _, unravel = ravel_pytree(zeros)
    # The images that remain after the last full batch are left out of the epoch.
    steps_per_epoch = len(data.x_train) // settings.batch_size
    schedule = learning_rate_schedule(settings, steps_per_epoch)
    optimizer = make_optimizer(
        settings, schedule, zeros, unravel, config.model.num_layers, layout.mesh.size
    )
    return TrainStep(
        model=model,
        param_shapes=shapes,
        unravel=unravel,
        optimizer=optimizer,
        schedule=schedule,
        settings=settings,
        normalization=data.normalization,
        layout=layout,
        steps_per_epoch=steps_per_epoch,
        class_weights=(
            balanced_class_weights(data.y_train, num_classes)
            if settings.class_weights == "balanced"
            else None
        ),
        # Not the key of the seed itself, from which the initial weights are drawn.
        key=jax.random.fold_in(jax.random.key(config.seed), 1),
    )


def cross_entropy(
    logits: jax.Array,
    targets: jax.Array,
    smoothing: float = 0.0,
    class_weights: np.ndarray | None = None,
) -> jax.Array:
    """Compute the mean cross-entropy in nats, with label smoothing (arXiv 1512.00567, section 7).

    Args:
      logits: [B, C].
      targets: [B, C], the probabilities of the classes.
      smoothing: share of each target that is spread evenly over all C classes.
      class_weights: float32 [C]. The target of each class is multiplied by its weight, and the sum
        of an image's targets is the weight of the image, of which smoothing spreads its share.

    Returns:
      float32 [].
    """
    if class_weights is None:
        targets = optax.smooth_labels(targets, smoothing)
    else:
        # Smoothed before, the small target of a rare class could outweigh that of the true class.
        weighted = targets * class_weights
        image_weights = weighted.sum(-1, keepdims=True)
        targets = image_weights * optax.smooth_labels(weighted / image_weights, smoothing)
    return optax.softmax_cross_entropy(logits, targets).mean()


def _add_raveled(sums: jax.Array, terms: LossAndGradientTree) -> jax.Array:
    """Add a loss and its gradient to the sums, float32 [1 + num_params]."""
    leaves = jax.tree.leaves(terms)
    if is_supported(*leaves):
        return accumulate(sums, leaves)
    return sums + ravel_pytree(terms)[0]
