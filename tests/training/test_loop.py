import dataclasses
import math

import haiku as hk
import jax
import numpy as np
import pytest
import torch

from vit_hk.model.vit import ViTOutput, make_model
from vit_hk.training import loop
from vit_hk.training.loop import NotFiniteError, init_params, train


@pytest.fixture(scope="module")
def learned(make_params, quadrants):
    """160 images are 10 batches an epoch; so the 195 steps that are asked for take 20 epochs."""
    params = make_params(epochs=2, min_steps=195, ema_decay=0.8)
    return params, train(params, quadrants, num_classes=4)


def test_learns_an_easy_task(learned):
    _, trained = learned
    assert trained.history[-1].validation_accuracy > 0.95
    losses = [epoch.train_loss for epoch in trained.history]
    assert losses[-1] < 0.5 * losses[0] < 0.5 * math.log(4) * 1.05


def test_min_steps_raises_the_number_of_epochs(learned):
    _, trained = learned
    assert [epoch.epoch for epoch in trained.history] == list(range(1, 21))


def test_history_holds_the_learning_rate_of_the_last_step(learned):
    params, trained = learned
    # 10 steps of warm-up and 190 of cosine; the last step of epoch n is 10 n - 1.
    cosine = [(1 + math.cos(math.pi * (10 * n - 11) / 190)) / 2 for n in range(2, 21)]
    rates = [epoch.learning_rate / params.train.learning_rate for epoch in trained.history]
    assert rates == pytest.approx([0.9, *cosine], abs=1e-6)


def test_last_row_of_the_history_belongs_to_the_weights_that_come_back(learned, quadrants):
    params, trained = learned
    model = make_model(params.model, 4)
    scaled = (quadrants.x_validation / 255 - quadrants.mean) / quadrants.std
    forward = jax.jit(lambda p, x: model.apply(p, None, x, is_training=False).logits)
    logits = np.asarray(forward(trained.params, scaled.astype(np.float32)))
    loss = torch.nn.functional.cross_entropy(
        torch.tensor(logits), torch.tensor(quadrants.y_validation, dtype=torch.long)
    )
    last = trained.history[-1]
    assert last.validation_accuracy == pytest.approx(
        (logits.argmax(-1) == quadrants.y_validation).mean()
    )
    assert last.validation_loss == pytest.approx(float(loss), rel=1e-4)


def test_timing_is_positive(learned):
    _, trained = learned
    assert all(value > 0 for value in dataclasses.astuple(trained.timing))


@pytest.fixture
def quick_model(monkeypatch):
    """A model that compiles in no time, for what does not depend on the model."""

    def forward(images, is_training):  # noqa: ARG001
        return ViTOutput(hk.Linear(4)(hk.Flatten()(images)) ** 2, None, None)

    monkeypatch.setattr(loop, "make_model", lambda *_: hk.transform(forward))


@pytest.mark.usefixtures("quick_model")
def test_enough_epochs_are_not_raised(make_params, quadrants):
    trained = train(make_params(epochs=2, min_steps=20), quadrants, num_classes=4)
    assert [epoch.epoch for epoch in trained.history] == [1, 2]


@pytest.mark.usefixtures("quick_model")
def test_initial_weights_follow_from_the_seed(make_params):
    first, again, other = (
        init_params(make_params(seed=seed), (8, 8, 1), 4)["linear"]["w"] for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1


@pytest.mark.usefixtures("quick_model")
def test_training_that_blows_up_says_where_and_keeps_finite_weights(make_params, quadrants):
    params = make_params(learning_rate=1e30, weight_decay=0.0, warmup_epochs=0.0, epochs=1)
    with pytest.raises(NotFiniteError) as failure:
        train(params, quadrants, num_classes=4)
    # The first update gives weights of 1e30, whose squares are not finite.
    assert failure.value.step == 2
    rate = 1e30 * (1 + math.cos(math.pi / 10)) / 2  # the second of 10 steps
    assert failure.value.learning_rate == pytest.approx(rate, rel=1e-5)
    leaves = jax.tree.leaves(failure.value.params)
    assert max(np.abs(leaf).max() for leaf in leaves) == pytest.approx(1e30, rel=0.01)
    assert all(np.isfinite(leaf).all() for leaf in leaves)
