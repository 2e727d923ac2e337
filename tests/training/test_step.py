"""Steps, mostly on models so simple that what the steps must do is known beforehand."""

import functools
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

from vit_hk.division import Division, divide_for_step
from vit_hk.model.vit import ViTOutput, make_model
from vit_hk.training.loop import init_params
from vit_hk.training.optimizer import decay_mask, make_optimizer
from vit_hk.training.pieces import Split
from vit_hk.training.step import cross_entropy, epoch_order, init_state, make_run_steps

ONE, BOTH = (Mesh(np.array(jax.devices()[:count]), ("batch",)) for count in (1, 2))
DIVIDED = Division(BOTH, pieces=2, piece=4)

ADD_ONE = optax.stateless(lambda gradient, _: jnp.ones_like(gradient))


def two_logits(score):
    """A model whose logits are (score(u, images), 0), u being all of its parameters."""

    def forward(images, is_training):
        assert is_training
        first = score(hk.get_parameter("u", START.shape, init=jnp.zeros), images)
        return ViTOutput(jnp.stack([first, jnp.zeros_like(first)], axis=-1), None, None)

    return hk.transform(forward)


START = np.zeros(10, np.float32)


class Steps:
    """Steps on images whose pixel holds their number, all of class 0."""

    def __init__(
        self, score, settings, *, optimizer=ADD_ONE, images=None, seed=0, per_epoch=3, division=None
    ):
        if images is None:
            images = np.arange(10, dtype=np.uint8).reshape(-1, 1, 1, 1)
        self.split = Split(jnp.asarray(images), jnp.zeros(len(images), jnp.int32))
        self.begin = lambda: init_state(jnp.asarray(START), optimizer, settings)
        self.state = self.begin()
        # A pixel n reaches the model as (n - 10) / 2.
        self.run = make_run_steps(
            two_logits(score),
            lambda flat: {"~": {"u": flat}},
            optimizer,
            settings,
            per_epoch,
            mean=[10 / 255],
            std=[2 / 255],
            seed=seed,
            division=division or divide_for_step(settings.batch_size, 17),
        )

        self.order = lambda: epoch_order(seed, int(self.state.step) // per_epoch, len(images))

    def until(self, last):
        self.state, finite = self.run(self.state, self.split, self.order(), jnp.int32(last))
        return bool(finite)


def assert_same_bits(first, second):
    assert jax.tree.structure(first) == jax.tree.structure(second)
    for one, other in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes()


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


def test_cross_entropy_of_equal_logits_is_log_of_the_number_of_classes():
    loss = cross_entropy(np.zeros((3, 7), np.float32), np.eye(7)[[0, 3, 6]])
    assert float(loss) == pytest.approx(math.log(7))


def test_epoch_order_is_a_new_permutation_each_epoch():
    orders = [tuple(epoch_order(0, epoch, 50).tolist()) for epoch in range(4)]
    for order in orders:
        assert sorted(order) == list(range(50))
    assert len(set(orders)) == 4
    assert tuple(epoch_order(0, 2, 50).tolist()) == orders[2]
    assert tuple(epoch_order(1, 2, 50).tolist()) != orders[2]


def test_an_epoch_takes_each_image_at_most_once(make_params):
    def score(u, images):
        # Always 0, with gradient 1: of each use of image n, u[n] gets the gradient -1/2B.
        number = (images[:, 0, 0, 0] * 2 + 10).round().astype(int)
        return u[number] - jax.lax.stop_gradient(u[number])

    steps = Steps(score, make_params(batch_size=3).train, optimizer=optax.scale(-2.0 * 3))
    left_out = set()
    used = np.zeros(10)
    for epoch in range(1, 6):
        assert steps.until(3 * epoch)
        before, used = used, np.asarray(steps.state.params).round(4)
        # 3 batches of 3 out of 10 images: all but one, once.
        assert sorted(used - before) == [0, *[1] * 9]
        left_out.add(int((used - before).argmin()))
        # The loss of the state is the sum over this epoch's steps, each log 2.
        assert float(steps.state.epoch_loss) == pytest.approx(3 * math.log(2), rel=1e-5)
    assert len(left_out) > 1  # the order changes, so no image is left out for ever


def test_each_step_of_each_seed_draws_its_own_random_numbers(make_params):
    def score(u, images):
        return 0 * u[0] + jax.random.uniform(hk.next_rng_key(), (len(images),))

    settings = make_params(batch_size=10).train
    first, other = losses_of(score, settings, 6), losses_of(score, settings, 6, seed=1)
    assert len(first) == 6
    assert not first & other


def test_each_step_shifts_images_anew(make_params):
    images = np.arange(1, 10 * 9 + 1, dtype=np.uint8).reshape(10, 3, 3, 1)

    def score(u, images):
        # The middle pixel, averaged over all images, so that their order plays no part.
        middle = jnp.full(len(images), images[:, 1, 1, 0].mean())
        return 0 * u[0] + 0.1 * middle

    settings = make_params(batch_size=10, augment={"shift": 1}).train
    assert len(losses_of(score, settings, 6, images)) > 3


def losses_of(score, settings, count, images=None, seed=0, division=None):
    """The different losses that so many steps on all images give."""
    steps = Steps(score, settings, images=images, seed=seed, per_epoch=1, division=division)
    losses = []
    for last in range(1, count + 1):
        steps.until(last)
        losses.append(round(float(steps.state.epoch_loss), 5))
    return set(losses)


@pytest.mark.parametrize(
    ("decay", "expected"),
    [
        # u is 1, 2, 3, 4 after the steps; the decay of step t is min(decay, (1+t) / (10+t)):
        # 0.1 * 0 + 0.9 * 1;  2/11 * 0.9 + 9/11 * 2;  3/12 * 1.8 + 9/12 * 3;  4/13, 9/13 * 4
        (0.99, [0.9, 1.8, 2.7, 3.6]),
        # 1/10 and 2/11 are below 0.2, then it stays: 0.2 * 1.8 + 0.8 * 3; 0.2 * 2.76 + 0.8 * 4
        (0.2, [0.9, 1.8, 2.76, 3.752]),
    ],
)
def test_moving_average_by_hand(make_params, decay, expected):
    settings = make_params(batch_size=3, ema_decay=decay).train
    steps = Steps(lambda u, images: 0 * u[0] + images[:, 0, 0, 0], settings)
    for last, value in enumerate(expected, 1):
        steps.until(last)
        np.testing.assert_allclose(steps.state.params, last)
        np.testing.assert_allclose(steps.state.ema, value, rtol=1e-5)


@pytest.mark.parametrize("division", [Division(ONE, 1, 6), Division(BOTH, 3, 1)], ids=str)
def test_sharpness_aware_steps_equal_torch(make_params, division):
    random = np.random.default_rng(0)
    linear, square = random.normal(size=(2, 10)).astype(np.float32)

    def value(u, linear, square):
        return (linear * u).sum() + (square * u * u).sum()

    def score(u, images):
        # Each image has a loss of its own, and the gradient of the batch is not that of a piece.
        return (1 + images[:, 0, 0, 0]) * value(u, linear, square)

    settings = make_params(batch_size=6, sam_rho=0.5).train
    images = np.arange(6, dtype=np.uint8).reshape(-1, 1, 1, 1)
    steps = Steps(
        score, settings, optimizer=optax.scale(-0.1), images=images, per_epoch=1, division=division
    )

    u = torch.zeros(10, requires_grad=True)
    factors = 1 + (torch.arange(6) - 10) / 2

    def loss_and_gradient(u):
        scores = factors * value(u, torch.tensor(linear), torch.tensor(square))
        loss = torch.nn.functional.softplus(-scores).mean()
        return loss, torch.autograd.grad(loss, u)[0]

    for step in range(1, 5):
        assert steps.until(step)
        loss, gradient = loss_and_gradient(u)
        _, slope_uphill = loss_and_gradient(u + 0.5 * gradient / gradient.norm())
        u = (u - 0.1 * slope_uphill).detach().requires_grad_()
        assert float(steps.state.epoch_loss) == pytest.approx(loss.item(), rel=1e-4)
        np.testing.assert_allclose(steps.state.params, u.detach(), rtol=1e-4, atol=1e-5)


def test_sharpness_aware_step_where_there_is_no_slope(make_params):
    steps = Steps(
        lambda u, images: 0 * u[0] + images[:, 0, 0, 0],
        make_params(batch_size=3, sam_rho=0.5).train,
    )
    assert steps.until(1)
    np.testing.assert_array_equal(steps.state.params, START + 1)


def test_without_a_moving_average_none_is_kept(make_params):
    steps = Steps(lambda u, images: 0 * u[0] + images[:, 0, 0, 0], make_params().train)
    assert steps.state.ema is None


def loss_breaks(u, images):
    return jnp.where(u[0] >= 2, jnp.nan, 0 * u[0]) * jnp.ones(len(images))


def gradient_breaks(u, images):
    # The loss stays finite; at u = 2 the square root has no slope.
    return jnp.sqrt(jnp.abs(u[0] - 2)) * jnp.ones(len(images))


@pytest.mark.parametrize("score", [loss_breaks, gradient_breaks])
def test_what_is_not_finite_stops_before_the_update(make_params, score):
    # Counts its updates, so that a change of the optimizer's state would show.
    count = optax.chain(optax.scale_by_schedule(lambda _: 1.0), ADD_ONE)
    settings = make_params(batch_size=3, ema_decay=0.5).train
    steps = Steps(score, settings, optimizer=count, per_epoch=9)
    assert not steps.until(9)
    broken, steps.state = steps.state, steps.begin()
    assert int(broken.step) == 2
    np.testing.assert_array_equal(broken.params, START + 2)
    assert steps.until(2)
    assert_same_bits(broken, steps.state)


def test_an_update_that_overflows_is_not_applied(make_params):
    # Loss and gradient are finite, what they lead to is not.
    grow = optax.stateless(lambda gradient, _: jnp.full_like(gradient, 2e38))
    settings = make_params(batch_size=3).train
    steps = Steps(lambda u, images: 0 * u[0] + images[:, 0, 0, 0], settings, optimizer=grow)
    assert not steps.until(3)
    assert int(steps.state.step) == 1
    np.testing.assert_allclose(steps.state.params, 2e38)


@pytest.fixture(scope="module")
def run_vit(make_params, quadrants):
    """Train a real model, with all that is random, and return the state after some steps."""
    params = make_params(
        model={"dropout": 0.1},
        ema_decay=0.9,
        label_smoothing=0.1,
        augment={"shift": 1, "rotate": 9, "scale": 0.1, "elastic": 0.5, "mixup": 1, "cutmix": 1},
    )
    model, split = make_model(params.model, 4), Split(quadrants.x_train, quadrants.y_train)
    flat, unravel = ravel_pytree(init_params(params, (8, 8, 1), 4))
    optimizer = make_optimizer(
        params.train, optax.constant_schedule(0.01), decay_mask(unravel(flat)), unravel
    )

    @functools.cache
    def compiled(division):
        return make_run_steps(
            model, unravel, optimizer, params.train, 10, quadrants.mean, quadrants.std, params.seed,
            division,
        )  # fmt: skip

    def run(*ends, division=DIVIDED):
        run_steps = compiled(division)
        state = init_state(jnp.copy(flat), optimizer, params.train)  # calls consume their state
        for last in ends:
            order = epoch_order(params.seed, int(state.step) // 10, len(split.labels))
            state, finite = run_steps(state, split, order, jnp.int32(last))
            assert finite
            assert state.step == last
        return state

    return run


def test_an_epoch_in_several_calls_gives_the_same_bits_as_in_one(run_vit):
    in_one = run_vit(10, 20)
    assert_same_bits(run_vit(3, 4, 10, 10, 17, 20), in_one)
    assert_same_bits(run_vit(*range(1, 21)), in_one)


def test_the_same_steps_again_give_the_same_bits(run_vit):
    assert_same_bits(run_vit(10), run_vit(10))


def test_one_device_trains_as_two_do(run_vit):
    # Pieces draw their own random numbers, wherever they are computed.
    one, two = run_vit(5, division=Division(ONE, pieces=4, piece=4)), run_vit(5)
    np.testing.assert_allclose(one.params, two.params, rtol=0, atol=1e-4)
    assert float(one.epoch_loss) == pytest.approx(float(two.epoch_loss), rel=1e-5)


@pytest.mark.parametrize(
    "division", [Division(ONE, 3, 2), Division(BOTH, 1, 3), Division(BOTH, 3, 1)], ids=str
)
def test_loss_and_gradient_of_pieces_are_means_over_the_batch(make_params, division):
    def score(u, images):
        number = (images[:, 0, 0, 0] * 2 + 10).round().astype(int)
        return u[number] - jax.lax.stop_gradient(u[number])

    # Of each of 6 images n, u[n] has the gradient -1/12; the loss of each is log 2.
    settings = make_params(batch_size=6).train
    steps = Steps(score, settings, optimizer=optax.scale(-12.0), per_epoch=1, division=division)
    assert steps.until(1)
    np.testing.assert_allclose(sorted(steps.state.params), [0] * 4 + [1] * 6, atol=1e-5)
    assert float(steps.state.epoch_loss) == pytest.approx(math.log(2), rel=1e-5)


def test_each_piece_draws_its_own_random_numbers(make_params):
    def score(u, images):
        # A piece, here of one image, has a loss of 100 or of log 2.
        drawn = jax.random.uniform(hk.next_rng_key(), ())
        return 0 * u[0] + jnp.where(drawn < 0.5, -100.0, 0.0) * jnp.ones(len(images))

    settings = make_params(batch_size=10).train
    losses = losses_of(score, settings, 6, division=Division(BOTH, 5, 1))
    # If all pieces of a batch drew the same number, their mean would be 100 or log 2 as well.
    assert losses - {round(100.0, 5), round(math.log(2), 5)}
