import jax
import numpy as np
import pytest

from vit_hk.inference import run_model
from vit_hk.model.vit import make_model
from vit_hk.training.loop import init_params, train
from vit_hk.training.snapshots import MOST_IMAGES, SnapshotTaker


def test_end_of_each_epoch_hands_out_the_weights_that_come_back(make_params, quadrants):
    seen = {}
    params = make_params(epochs=2, ema_decay=0.5)
    trained = train(params, quadrants, 4, lambda epoch, weights: seen.update({epoch: weights}))
    assert list(seen) == [1, 2]
    assert jax.tree.structure(seen[2]) == jax.tree.structure(trained.params)
    for one, other in zip(jax.tree.leaves(seen[2]), jax.tree.leaves(trained.params), strict=True):
        np.testing.assert_array_equal(one, other)
    assert any(
        (one != other).any()
        for one, other in zip(jax.tree.leaves(seen[1]), jax.tree.leaves(seen[2]), strict=True)
    )


@pytest.fixture(scope="module")
def taken(make_params, quadrants):
    """Snapshots after epochs 2 and 5, with the weights of seed n after epoch n."""
    params = make_params()
    taker = SnapshotTaker(params.model, quadrants, 4, {2, 5})
    weights = {n: init_params(make_params(seed=n), (8, 8, 1), 4) for n in range(1, 6)}
    for epoch, some in weights.items():
        taker.end_of_epoch(epoch, some)
    return params, taker, weights


def test_only_the_epochs_asked_for_are_kept(taken):
    assert [snapshot.epoch for snapshot in taken[1].snapshots] == [2, 5]


def test_attention_is_that_of_the_class_token_to_the_patches(taken, quadrants):
    params, taker, weights = taken
    model = make_model(params.model, 4)
    for snapshot in taker.snapshots:
        assert snapshot.attention.shape == (1, 4, 2, 4)
        output = run_model(
            model, weights[snapshot.epoch], taker.images, quadrants.mean, quadrants.std
        )
        expected = output.attention[:, :, :, 0, 1:]
        np.testing.assert_allclose(snapshot.attention, expected, rtol=1e-4, atol=1e-6)
        assert snapshot.probabilities.shape == (4, 4)
        np.testing.assert_allclose(snapshot.probabilities.sum(axis=-1), 1, rtol=1e-5)


def test_images_are_the_first_of_each_class(taken, quadrants):
    taker = taken[1]
    assert taker.labels.tolist() == [0, 1, 2, 3]
    for image, label in zip(taker.images, taker.labels, strict=True):
        first = quadrants.y_validation.tolist().index(label)
        np.testing.assert_array_equal(image, quadrants.x_validation[first])


def test_of_many_classes_a_few_are_enough(make_params, quadrants):
    many = np.arange(80, dtype=np.int32) % 20
    data = type(quadrants)(**{**vars(quadrants), "y_validation": many})
    taker = SnapshotTaker(make_params().model, data, 20, {1})
    assert taker.labels.tolist() == list(range(MOST_IMAGES))
