"""Training steps, mostly of models so simple that the expected results are known."""

import dataclasses
import functools
import inspect
import math

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh
from jaxpr import operations

from vit_hk.data.normalization import Normalization
from vit_hk.model import reference
from vit_hk.model.vit import ViTOutput, init_params
from vit_hk.runtime.batch_layout import AXIS, BatchLayout, layout_for_training
from vit_hk.training.data import TrainingData, epoch_order
from vit_hk.training.feed import InMemoryFeed
from vit_hk.training.train_step import TrainStep, build_train_step, cross_entropy

ONE_DEVICE, TWO_DEVICES = (Mesh(np.array(jax.devices()[:count]), (AXIS,)) for count in (1, 2))


def layout_id(layout):
    return f"{layout.mesh.size}-{layout.num_microbatches}-{layout.microbatch_size}"


ADD_ONE = optax.stateless(lambda gradient, _: jnp.ones_like(gradient))
ZEROS = np.zeros(10, np.float32)


def two_class_model(score):
    """Return a model whose logits are (score(u, images), 0); u is its only parameter.

    A score that takes three arguments gets the random keys of the images too.
    """
    takes_keys = len(inspect.signature(score).parameters) == 3

    def forward(images, keys):
        assert keys.shape == (len(images),)
        u = hk.get_parameter("u", ZEROS.shape, init=jnp.zeros)
        first = score(u, images, keys) if takes_keys else score(u, images)
        return ViTOutput(jnp.stack([first, jnp.zeros_like(first)], axis=-1), None, None)

    return hk.without_apply_rng(hk.transform(forward))


class Training:
    """Steps of a two-class model on ten images of class 0, whose only pixel is their number."""

    def __init__(
        self,
        score,
        settings,
        *,
        optimizer=ADD_ONE,
        images=None,
        seed=0,
        steps_per_epoch=3,
        layout=None,
    ):
        if images is None:
            images = np.arange(10, dtype=np.uint8).reshape(-1, 1, 1, 1)
        self.step = TrainStep(
            model=two_class_model(score),
            param_shapes={"~": {"u": jax.ShapeDtypeStruct(ZEROS.shape, np.float32)}},
            unravel=ravel_pytree({"~": {"u": ZEROS}})[1],
            optimizer=optimizer,
            schedule=optax.constant_schedule(1.0),
            settings=settings,
            # Maps pixel n to (n - 10) / 2.
            normalization=Normalization(mean=(10 / 255,), std=(2 / 255,)),
            layout=layout or layout_for_training(settings.batch_size, 17, 64),
            steps_per_epoch=steps_per_epoch,
            class_weights=None,
            key=jax.random.key(seed),
        )
        self.seed = seed
        self.num_images = len(images)
        labels = np.zeros(len(images), np.int32)
        data = TrainingData(images, labels, images, labels, self.step.normalization)
        self.feed = InMemoryFeed(data, self.step.layout, steps_per_epoch, calls_per_epoch=1)
        self.run_steps = self.step.compile(self.feed)
        self.state = self.initial_state()

    def initial_state(self):
        return self.step.init_state({"~": {"u": jnp.asarray(ZEROS)}})

    def run_until(self, last):
        """Take steps until `last` steps are done, and return whether all numbers are finite."""
        epoch = int(self.state.step) // self.step.steps_per_epoch
        order = epoch_order(self.seed, epoch, self.num_images)
        (call,) = self.feed.calls(order, [(int(self.state.step), last)])
        self.state, is_finite = self.run_steps(self.state, call)
        return bool(is_finite)


def assert_same_bits(actual, expected):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for array, expected_array in zip(*map(jax.tree.leaves, (actual, expected)), strict=True):
        assert np.asarray(array).tobytes() == np.asarray(expected_array).tobytes()


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
def test_cross_entropy_equals_torch(smoothing):
    random = np.random.default_rng(0)
    logits = random.normal(size=(6, 5)).astype(np.float32) * 4
    labels = random.integers(0, 5, 6)
    expected = torch.nn.functional.cross_entropy(
        torch.tensor(logits), torch.tensor(labels), label_smoothing=smoothing
    )
    assert float(cross_entropy(logits, np.eye(5)[labels], smoothing)) == pytest.approx(
        float(expected)
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_weighted_cross_entropy_equals_torch(smoothing):
    # Mixed targets, as mixup makes them.
    random = np.random.default_rng(0)
    logits = random.normal(size=(6, 5)).astype(np.float32) * 4
    targets = random.dirichlet(np.ones(5), 6).astype(np.float32)
    weights = random.uniform(0.1, 3, 5).astype(np.float32)
    # With smoothing, a share of the weight of an image, here of all its targets, is for any class.
    weighted = targets * weights
    smoothed = (1 - smoothing) * weighted + smoothing / 5 * weighted.sum(axis=1, keepdims=True)
    expected = torch.nn.functional.cross_entropy(torch.tensor(logits), torch.tensor(smoothed))
    if not smoothing:
        same = torch.nn.functional.cross_entropy(
            torch.tensor(logits), torch.tensor(targets), torch.tensor(weights)
        )
        assert float(expected) == pytest.approx(float(same), rel=1e-6)
    loss = cross_entropy(logits, targets, smoothing, weights)
    assert float(loss) == pytest.approx(float(expected), rel=1e-6)


def test_with_smoothing_the_loss_of_an_image_is_multiplied_by_the_weight_of_its_class():
    random = np.random.default_rng(0)
    logits, labels = random.normal(size=(6, 5)).astype(np.float32) * 4, np.array([0, 1, 2, 3, 4, 0])
    weights = np.float32([0.01, 0.1, 1, 10, 100])
    losses = torch.nn.functional.cross_entropy(
        torch.tensor(logits), torch.tensor(labels), label_smoothing=0.1, reduction="none"
    )
    expected = (losses.numpy() * weights[labels]).mean()
    loss = cross_entropy(logits, np.eye(5, dtype=np.float32)[labels], 0.1, weights)
    assert float(loss) == pytest.approx(float(expected), rel=1e-6)


def test_cross_entropy_of_equal_logits_is_the_logarithm_of_the_number_of_classes():
    loss = cross_entropy(np.zeros((3, 7), np.float32), np.eye(7)[[0, 3, 6]])
    assert float(loss) == pytest.approx(math.log(7))


def image_numbers(images):
    """Return the numbers of normalized images."""
    return (images[:, 0, 0, 0] * 2 + 10).round().astype(int)


def score_of_own_parameter(u, images):
    """Return a score of 0 that has the gradient 1 with respect to u[n], for image n."""
    own = u[image_numbers(images)]
    return own - jax.lax.stop_gradient(own)


def test_each_image_is_used_at_most_once_per_epoch(make_config):
    # The loss of image n in a batch of size B has the gradient -1 / (2 B) with respect to u[n].
    settings = make_config(batch_size=3).train
    training = Training(score_of_own_parameter, settings, optimizer=optax.scale(-2.0 * 3))
    unused = set()
    uses = np.zeros(10)
    for epoch in range(1, 6):
        assert training.run_until(3 * epoch)
        previous_uses, uses = uses, np.asarray(training.state.flat_params).round(4)
        # 3 batches of 3 use all but one of the 10 images once.
        assert sorted(uses - previous_uses) == [0, *[1] * 9]
        unused.add(int((uses - previous_uses).argmin()))
        # The loss of the state is the sum over the steps of this epoch, each log 2.
        assert float(training.state.epoch_loss) == pytest.approx(3 * math.log(2), rel=1e-5)
    assert len(unused) > 1  # the order changes, so no image is left out of all epochs


def test_each_step_and_each_seed_draws_other_random_numbers(make_config):
    def score(u, _, keys):
        return 0 * u[0] + jax.vmap(jax.random.uniform)(keys)

    settings = make_config(batch_size=10).train
    first, other = losses_of(score, settings, 6), losses_of(score, settings, 6, seed=1)
    assert len(first) == 6
    assert not first & other


def test_each_step_translates_images_differently(make_config):
    images = np.arange(1, 10 * 9 + 1, dtype=np.uint8).reshape(10, 3, 3, 1)

    def score(u, images):
        # The mean of the middle pixels does not depend on the order of the images.
        middle = jnp.full(len(images), images[:, 1, 1, 0].mean())
        return 0 * u[0] + 0.1 * middle

    settings = make_config(batch_size=10, augment={"shift": 1}).train
    assert len(losses_of(score, settings, 6, images)) > 3


def losses_of(score, settings, num_steps, images=None, seed=0, layout=None):
    """Return the distinct losses of steps whose batch is all images."""
    training = Training(score, settings, images=images, seed=seed, steps_per_epoch=1, layout=layout)
    losses = []
    for last in range(1, num_steps + 1):
        training.run_until(last)
        losses.append(round(float(training.state.epoch_loss), 5))
    return set(losses)


@pytest.mark.parametrize(
    ("decay", "expected"),
    [
        # u is 1, 2, 3, 4 after the steps; the decay of step t is min(decay, (1+t) / (10+t)):
        # 0.1 * 0 + 0.9 * 1;  2/11 * 0.9 + 9/11 * 2;  3/12 * 1.8 + 9/12 * 3;  4/13, 9/13 * 4
        (0.99, [0.9, 1.8, 2.7, 3.6]),
        # 1/10 and 2/11 are below 0.2, which is the decay from then on: 0.2 * 1.8 + 0.8 * 3, …
        (0.2, [0.9, 1.8, 2.76, 3.752]),
    ],
)
def test_moving_average_equals_literal_values(make_config, decay, expected):
    settings = make_config(batch_size=3, ema_decay=decay).train
    training = Training(lambda u, images: 0 * u[0] + images[:, 0, 0, 0], settings)
    for last, value in enumerate(expected, 1):
        training.run_until(last)
        np.testing.assert_allclose(training.state.flat_params, last)
        np.testing.assert_allclose(training.state.ema, value, rtol=1e-5)
        (weights,) = jax.tree.leaves(training.step.eval_params(training.state))
        np.testing.assert_array_equal(weights, training.state.ema)


def test_without_a_moving_average_the_weights_are_those_of_the_last_step(make_config):
    settings = make_config(batch_size=3).train
    training = Training(lambda u, images: 0 * u[0] + images[:, 0, 0, 0], settings)
    training.run_until(2)
    assert training.state.ema is None
    (weights,) = jax.tree.leaves(training.step.eval_params(training.state))
    np.testing.assert_array_equal(weights, ZEROS + 2)


@pytest.mark.parametrize(
    "layout", [BatchLayout(ONE_DEVICE, 1, 6), BatchLayout(TWO_DEVICES, 3, 1)], ids=layout_id
)
def test_sharpness_aware_steps_equal_torch(make_config, layout):
    random = np.random.default_rng(0)
    linear, square = random.normal(size=(2, 10)).astype(np.float32)

    def value(u, linear, square):
        return (linear * u).sum() + (square * u * u).sum()

    def score(u, images):
        # Each image has its own loss, so the gradient of a microbatch is not that of the batch.
        return (1 + images[:, 0, 0, 0]) * value(u, linear, square)

    settings = make_config(batch_size=6, sam_rho=0.5).train
    images = np.arange(6, dtype=np.uint8).reshape(-1, 1, 1, 1)
    training = Training(
        score, settings, optimizer=optax.scale(-0.1), images=images, steps_per_epoch=1,
        layout=layout,
    )  # fmt: skip

    u = torch.zeros(10, requires_grad=True)
    factors = 1 + (torch.arange(6) - 10) / 2

    def loss_and_gradient(u):
        scores = factors * value(u, torch.tensor(linear), torch.tensor(square))
        loss = torch.nn.functional.softplus(-scores).mean()
        return loss, torch.autograd.grad(loss, u)[0]

    for step in range(1, 5):
        assert training.run_until(step)
        loss, gradient = loss_and_gradient(u)
        _, gradient_uphill = loss_and_gradient(u + 0.5 * gradient / gradient.norm())
        u = (u - 0.1 * gradient_uphill).detach().requires_grad_()
        assert float(training.state.epoch_loss) == pytest.approx(loss.item(), rel=1e-4)
        np.testing.assert_allclose(training.state.flat_params, u.detach(), rtol=1e-4, atol=1e-5)


def test_sharpness_aware_step_with_a_gradient_of_zero_is_finite(make_config):
    training = Training(
        lambda u, images: 0 * u[0] + images[:, 0, 0, 0],
        make_config(batch_size=3, sam_rho=0.5).train,
    )
    assert training.run_until(1)
    np.testing.assert_array_equal(training.state.flat_params, ZEROS + 1)


def score_with_nan_at_2(u, images):
    return jnp.where(u[0] >= 2, jnp.nan, 0 * u[0]) * jnp.ones(len(images))


def score_with_infinite_gradient_at_2(u, images):
    return jnp.sqrt(jnp.abs(u[0] - 2)) * jnp.ones(len(images))


@pytest.mark.parametrize("score", [score_with_nan_at_2, score_with_infinite_gradient_at_2])
def test_step_with_a_loss_or_gradient_that_is_not_finite_is_not_applied(make_config, score):
    # The optimizer counts its updates, so that a change of its state would be noticed.
    counter = optax.chain(optax.scale_by_schedule(lambda _: 1.0), ADD_ONE)
    settings = make_config(batch_size=3, ema_decay=0.5).train
    training = Training(score, settings, optimizer=counter)
    assert not training.run_until(3)
    state, training.state = training.state, training.initial_state()
    assert int(state.step) == 2
    np.testing.assert_array_equal(state.flat_params, ZEROS + 2)
    assert training.run_until(2)
    assert_same_bits(state, training.state)


def test_step_whose_weights_overflow_is_not_applied(make_config):
    # Loss and gradient are finite; the sum of two updates is not.
    huge = optax.stateless(lambda gradient, _: jnp.full_like(gradient, 2e38))
    settings = make_config(batch_size=3).train
    training = Training(lambda u, images: 0 * u[0] + images[:, 0, 0, 0], settings, optimizer=huge)
    assert not training.run_until(3)
    assert int(training.state.step) == 1
    np.testing.assert_allclose(training.state.flat_params, 2e38)


@pytest.mark.parametrize(
    "layout",
    [BatchLayout(ONE_DEVICE, 3, 2), BatchLayout(TWO_DEVICES, 3, 1)],
    ids=layout_id,
)
def test_loss_and_gradient_are_means_over_all_microbatches(make_config, layout):
    # The loss of each of 6 images is log 2, with the gradient -1/12 with respect to u[n].
    settings = make_config(batch_size=6).train
    training = Training(
        score_of_own_parameter, settings, optimizer=optax.scale(-12.0), steps_per_epoch=1,
        layout=layout,
    )  # fmt: skip
    assert training.run_until(1)
    np.testing.assert_allclose(sorted(training.state.flat_params), [0] * 4 + [1] * 6, atol=1e-5)
    assert float(training.state.epoch_loss) == pytest.approx(math.log(2), rel=1e-5)


LAYOUTS = [BatchLayout(ONE_DEVICE, 1, 10), BatchLayout(TWO_DEVICES, 5, 1)]


def test_each_image_draws_its_own_random_numbers_whatever_the_layout(make_config):
    def score(u, _, keys):
        # An image has a loss of 100 or of log 2.
        drawn = jax.vmap(jax.random.uniform)(keys)
        return 0 * u[0] + jnp.where(drawn < 0.5, -100.0, 0.0)

    settings = make_config(batch_size=10).train
    losses = [losses_of(score, settings, 6, layout=layout) for layout in LAYOUTS]
    assert losses[0] == losses[1]
    # If all images of a batch drew the same number, each loss would be 100 or log 2.
    assert losses[0] - {round(100.0, 5), round(math.log(2), 5)}


def test_steps_equal_gradient_descent_on_the_reference(make_config, quadrants):
    config = make_config(model={"num_layers": 2}, label_smoothing=0.1)
    step = dataclasses.replace(
        build_train_step(config, quadrants, 4),
        optimizer=optax.sgd(1.0),
        layout=BatchLayout(TWO_DEVICES, 2, 4),
    )
    random = np.random.default_rng(0)
    weights = jax.tree.map(
        lambda leaf: random.normal(0.0, 0.3, leaf.shape).astype(np.float32), step.param_shapes
    )
    feed = InMemoryFeed(quadrants, step.layout, step.steps_per_epoch, calls_per_epoch=1)
    order = epoch_order(config.seed, 0, len(quadrants.x_train))
    (call,) = feed.calls(order, [(0, 3)])
    state, is_finite = step.make_loop(feed)(step.init_state(weights), call)
    assert is_finite

    def loss(weights, images, labels):
        logits = reference.vit(weights, quadrants.normalization(images), config.model).logits
        targets = 0.9 * jax.nn.one_hot(labels, 4) + 0.1 / 4
        return -(targets * jax.nn.log_softmax(logits)).sum(-1).mean()

    loss_and_gradient = jax.jit(jax.value_and_grad(loss))
    expected, losses = weights, []
    for batch in np.split(order[: 3 * 16], 3):
        value, gradient = loss_and_gradient(
            expected, quadrants.x_train[batch], quadrants.y_train[batch]
        )
        expected = jax.tree.map(lambda w, g: w - g, expected, gradient)
        losses.append(float(value))
    assert float(state.epoch_loss) == pytest.approx(sum(losses), rel=1e-5)
    found = step.eval_params(state)
    assert np.abs(ravel_pytree(found)[0] - ravel_pytree(weights)[0]).max() > 0.1
    for array, expected_array in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        np.testing.assert_allclose(array, expected_array, rtol=0, atol=1e-5)


def test_model_of_a_step_scans_its_layers_and_recomputes_them_if_told_so(make_config, quadrants):
    def primitives(**settings):
        # With a class token, the last of three blocks is outside of the loop.
        step = build_train_step(make_config({"num_layers": 3}, **settings), quadrants, 4)
        images = np.zeros((1, 8, 8, 1), np.float32)
        found = operations(step.model.apply, step.param_shapes, images)
        return {operation.primitive.name for operation in found} & {"scan", "remat2"}

    assert primitives() == set()
    assert primitives(scan_layers=True) == {"scan"}
    assert primitives(scan_layers=True, remat=True) == {"scan", "remat2"}


@pytest.fixture(scope="module")
def run_vit(make_config, quadrants):
    """Return a function that trains a ViT, with random numbers in the model and in the images."""
    config = make_config(
        model={"dropout": 0.1},
        warmup_epochs=0.0,
        ema_decay=0.9,
        label_smoothing=0.1,
        augment={"shift": 1, "rotate": 9, "mixup": 1},
    )
    weights = init_params(config.model, (8, 8, 1), 4, config.seed)

    @functools.cache
    def compiled(layout):
        step = dataclasses.replace(build_train_step(config, quadrants, 4), layout=layout)
        feed = InMemoryFeed(quadrants, layout, step.steps_per_epoch, calls_per_epoch=1)
        return step, feed, step.compile(feed)

    def run(*ends, layout=BatchLayout(TWO_DEVICES, 2, 4)):  # noqa: B008, a constant
        step, feed, run_steps = compiled(layout)
        state = step.init_state(weights)
        for last in ends:
            epoch = int(state.step) // step.steps_per_epoch
            order = epoch_order(config.seed, epoch, len(quadrants.x_train))
            (call,) = feed.calls(order, [(int(state.step), last)])
            state, is_finite = run_steps(state, call)
            assert is_finite
            assert state.step == last
        return state

    return run


def test_an_epoch_in_several_calls_has_the_same_bits_as_in_one_call(run_vit):
    expected = run_vit(10, 20)
    assert_same_bits(run_vit(3, 4, 10, 10, 17, 20), expected)
    assert_same_bits(run_vit(*range(1, 21)), expected)


def test_repeated_steps_have_the_same_bits(run_vit):
    assert_same_bits(run_vit(10), run_vit(10))


def test_one_device_computes_the_same_steps_as_two(run_vit):
    # A microbatch has its own random numbers, on whichever device it is computed.
    one, two = run_vit(5, layout=BatchLayout(ONE_DEVICE, 4, 4)), run_vit(5)
    np.testing.assert_allclose(one.flat_params, two.flat_params, rtol=0, atol=1e-4)
    assert float(one.epoch_loss) == pytest.approx(float(two.epoch_loss), rel=1e-5)
