import itertools
import math
from types import SimpleNamespace

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from vit_hk.model import reference, vit
from vit_hk.model.vit import ViTOutput
from vit_hk.training import loop, train_step
from vit_hk.training.checkpoint import Checkpoints
from vit_hk.training.loop import NotFiniteError, StoppedError, train
from vit_hk.training.progress import Snapshot


@pytest.fixture(scope="module")
def learned(make_config, quadrants):
    """Return the result of a training with 10 steps per epoch, and its settings."""
    config = make_config(epochs=20, ema_decay=0.8)
    return config, train(config, quadrants, num_classes=4)


def test_learns_an_easy_task(learned):
    _, trained = learned
    assert trained.history[-1].validation_accuracy > 0.95
    losses = [epoch.train_loss for epoch in trained.history]
    assert losses[-1] < 0.5 * losses[0] < 0.5 * math.log(4) * 1.05


def test_history_has_a_row_for_each_epoch(learned):
    _, trained = learned
    assert [epoch.epoch for epoch in trained.history] == list(range(1, 21))


def test_history_has_the_learning_rate_of_the_last_step_of_each_epoch(learned):
    config, trained = learned
    # 10 steps of warm-up and 190 of the cosine; the last step of epoch n is 10 n - 1.
    cosine = [(1 + math.cos(math.pi * (10 * n - 11) / 190)) / 2 for n in range(2, 21)]
    rates = [epoch.learning_rate / config.train.learning_rate for epoch in trained.history]
    assert rates == pytest.approx([0.9, *cosine], abs=1e-6)


def test_last_row_of_the_history_is_that_of_the_returned_weights(learned, quadrants):
    config, trained = learned
    images = quadrants.normalization(quadrants.x_validation)
    forward = jax.jit(lambda p, x: reference.vit(p, x, config.model).logits)
    logits = np.asarray(forward(trained.params, images))
    loss = torch.nn.functional.cross_entropy(
        torch.tensor(logits), torch.tensor(quadrants.y_validation, dtype=torch.long)
    )
    last = trained.history[-1]
    assert last.validation_accuracy == pytest.approx(
        (logits.argmax(-1) == quadrants.y_validation).mean()
    )
    assert last.validation_loss == pytest.approx(float(loss), rel=1e-4)


@pytest.fixture
def quick_model(monkeypatch):
    """Replace the model by one that compiles fast, for tests that do not depend on the model."""

    def forward(images, keys=None):  # noqa: ARG001
        logits = hk.Linear(4)(hk.Flatten()(images)) ** 2
        batch = len(images)
        return ViTOutput(logits, jnp.zeros((batch, 1)), jnp.zeros((1, batch, 1, 1, 1)))

    nothing = np.zeros(1, np.float32)
    taker = SimpleNamespace(take=lambda epoch, _: Snapshot(epoch, nothing, nothing))
    for module in (loop, train_step, vit):
        monkeypatch.setattr(
            module, "make_model", lambda *_, **__: hk.without_apply_rng(hk.transform(forward))
        )
    monkeypatch.setattr(loop, "SnapshotTaker", lambda *_: taker)


@pytest.mark.usefixtures("quick_model")
def test_weights_depend_on_the_seed(make_config, quadrants):
    first, second, other = (
        train(make_config(seed=seed, epochs=2), quadrants, 4).params["linear"]["w"]
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, second)
    assert np.abs(first - other).max() > 0.1


@pytest.mark.usefixtures("quick_model")
@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
def test_training_that_diverges_raises_with_step_and_finite_weights(
    make_config, quadrants, ema_decay
):
    config = make_config(
        learning_rate=1e30, weight_decay=0.0, warmup_epochs=0.0, epochs=1, ema_decay=ema_decay
    )
    with pytest.raises(NotFiniteError) as failure:
        train(config, quadrants, num_classes=4)
    # The first update gives weights of 1e30, whose squares are not finite.
    assert failure.value.step == 2
    rate = 1e30 * (1 + math.cos(math.pi / 10)) / 2  # the second of 10 steps
    assert failure.value.learning_rate == pytest.approx(rate, rel=1e-5)
    leaves = jax.tree.leaves(failure.value.params)
    assert max(np.abs(leaf).max() for leaf in leaves) == pytest.approx(1e30, rel=0.01)
    assert all(np.isfinite(leaf).all() for leaf in leaves)


class StopAfter:
    """A function that returns False for a number of calls, then True."""

    def __init__(self, calls: int) -> None:
        self.calls_left = calls

    def __call__(self) -> bool:
        self.calls_left -= 1
        return self.calls_left < 0


@pytest.fixture(scope="module")
def uninterrupted(make_config, quadrants):
    """Return the result of 2 epochs of 10 steps with all that is random or has a state."""
    config = make_config(
        {"dropout": 0.1, "drop_path": 0.1, "stem": "hybrid"}, ema_decay=0.8, epochs=2,
        checkpoint_steps=3, augment={"shift": 2}, snapshot_epochs=[1], optimizer="muon",
    )  # fmt: skip
    return config, train(config, quadrants, 4)


def test_interrupted_training_ends_with_the_same_bytes(uninterrupted, quadrants, tmp_path, capsys):
    config, expected = uninterrupted
    stops = []
    for calls in (0, 8):
        checkpoints = Checkpoints(tmp_path)
        with pytest.raises(StoppedError) as stopped:
            train(config, quadrants, 4, checkpoints, StopAfter(calls))
        stops.append(stopped.value.step)
        assert stopped.value.steps == 20
    # The second part resumed the first; it ended with an epoch, the first within one.
    assert stops == [1, 10]
    capsys.readouterr()
    resumed = train(config, quadrants, 4, Checkpoints(tmp_path))
    assert capsys.readouterr().out.startswith(f"resumed after step {stops[-1]} of 20\n")
    assert resumed.history == expected.history
    for array, expected_array in zip(
        jax.tree.leaves((resumed.params, resumed.snapshots)),
        jax.tree.leaves((expected.params, expected.snapshots)),
        strict=True,
    ):
        np.testing.assert_array_equal(array, expected_array)


@pytest.mark.usefixtures("quick_model")
def test_resumed_training_holds_one_state(make_config, quadrants, tmp_path):
    config = make_config(epochs=3)
    live: list[int] = []

    def count(stop: bool = False) -> bool:
        live.append(sum(array.nbytes for array in jax.live_arrays()))
        return stop

    train(config, quadrants, 4, stop_requested=count)
    fresh, live[:] = live[-2], []  # the last call comes after the training
    with pytest.raises(StoppedError):
        train(config, quadrants, 4, Checkpoints(tmp_path), lambda: True)
    train(config, quadrants, 4, Checkpoints(tmp_path), count)
    assert live[-2] <= fresh


@pytest.mark.usefixtures("quick_model")
def test_stop_during_the_last_checkpoint_is_not_ignored(make_config, quadrants, tmp_path):
    checkpoints = Checkpoints(tmp_path)
    saved = []

    def save(progress):
        Checkpoints.save(checkpoints, progress)
        saved.append(int(progress.state.step))

    checkpoints.save = save
    with pytest.raises(StoppedError, match="stopped after step 20 of 20"):
        train(make_config(epochs=2), quadrants, 4, checkpoints, lambda: saved[-1:] == [20])


@pytest.mark.usefixtures("quick_model")
def test_stop_of_a_training_that_has_ended_is_not_ignored(make_config, quadrants, tmp_path):
    config = make_config(epochs=2)
    train(config, quadrants, 4, Checkpoints(tmp_path))
    with pytest.raises(StoppedError, match="stopped after step 20 of 20"):
        train(config, quadrants, 4, Checkpoints(tmp_path), lambda: True)


@pytest.mark.usefixtures("quick_model")
def test_checkpoints_are_saved_after_each_epoch_and_every_checkpoint_steps(
    make_config, quadrants, monkeypatch, tmp_path
):
    saved = []
    monkeypatch.setattr(Checkpoints, "save", lambda _, progress: saved.append(int(progress[0][0])))
    train(make_config(epochs=2, checkpoint_steps=4), quadrants, 4, Checkpoints(tmp_path))
    assert saved == [4, 8, 10, 12, 16, 20]


@pytest.mark.usefixtures("quick_model")
def test_finished_training_only_returns_its_results(make_config, quadrants, monkeypatch, tmp_path):
    config = make_config(epochs=2)
    saved, save = [], Checkpoints.save

    def record(checkpoints, progress):
        saved.append(int(progress.state.step))
        save(checkpoints, progress)

    monkeypatch.setattr(Checkpoints, "save", record)
    first = train(config, quadrants, 4, Checkpoints(tmp_path))
    assert saved == [10, 20]  # without checkpoint_steps, after each epoch alone
    second = train(config, quadrants, 4, Checkpoints(tmp_path))
    assert saved == [10, 20]
    assert second.history == first.history
    np.testing.assert_array_equal(second.params["linear"]["w"], first.params["linear"]["w"])


@pytest.mark.usefixtures("quick_model")
def test_timing_is_of_the_steps_and_goes_on_after_a_stop(
    make_config, quadrants, monkeypatch, tmp_path
):
    def train_timed(seconds, *arguments):
        """Train with a clock that goes on by some seconds each time it is read."""
        times = itertools.count(0, seconds)
        clock = SimpleNamespace(perf_counter=lambda: next(times))
        monkeypatch.setattr(loop, "time", clock)
        return train(config, quadrants, 4, Checkpoints(tmp_path), *arguments).timing

    # Each step of 16 images is a call, whose start and end are read.
    config = make_config(epochs=2)
    with pytest.raises(StoppedError, match="after step 5 of 20"):
        train_timed(1000, StopAfter(4))
    timing = train_timed(1)
    assert timing.compile_seconds == 1
    assert timing.images_per_second == 16
    # At the stop the clock was read 11 times more; then come 15 steps, 2 checkpoints and the end.
    assert timing.train_seconds == 11 * 1000 + 2 * 15 + 3


@pytest.mark.usefixtures("quick_model")
def test_training_that_diverges_keeps_the_last_finite_checkpoint(make_config, quadrants, tmp_path):
    # The weights grow by a factor in each step, and overflow in the second epoch.
    config = make_config(learning_rate=3e17, weight_decay=0.0, warmup_epochs=0.0, epochs=3,
                         checkpoint_steps=1)  # fmt: skip
    with pytest.raises(NotFiniteError) as failure:
        train(config, quadrants, 4, Checkpoints(tmp_path))
    steps = [int(path.name) for path in tmp_path.iterdir() if path.is_dir()]
    assert max(steps) == failure.value.step - 1
