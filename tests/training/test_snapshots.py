import numpy as np
import pytest

from vit_hk.inference import run_model
from vit_hk.model.vit import make_model
from vit_hk.training.loop import init_params, train
from vit_hk.training.snapshots import MOST_IMAGES, SnapshotTaker, snapshot_images


def test_only_the_epochs_asked_for_and_the_last_are_kept(make_params, quadrants):
    trained = train(make_params(epochs=4, snapshot_epochs=[1, 3, 9]), quadrants, 4)
    assert [snapshot.epoch for snapshot in trained.snapshots] == [1, 3, 4]
    # The last is one of the weights that come back.
    model = make_params().model
    taker = SnapshotTaker(make_model(model, 4), model, quadrants)
    last = taker.take(4, trained.params)
    np.testing.assert_allclose(last.attention, trained.snapshots[-1].attention, rtol=1e-5)
    assert np.abs(last.attention - trained.snapshots[0].attention).max() > 1e-3


@pytest.fixture(scope="module")
def taken(make_params, quadrants):
    params = make_params()
    model, weights = make_model(params.model, 4), init_params(params, (8, 8, 1), 4)
    return params, weights, SnapshotTaker(model, params.model, quadrants).take(2, weights)


def test_attention_is_that_of_the_class_token_to_the_patches(taken, quadrants):
    params, weights, snapshot = taken
    images = quadrants.x_validation[snapshot_images(quadrants)]
    output = run_model(make_model(params.model, 4), weights, images, quadrants.mean, quadrants.std)
    assert snapshot.epoch == 2
    assert snapshot.attention.shape == (1, 4, 2, 4)
    expected = output.attention[:, :, :, 0, 1:]
    np.testing.assert_allclose(snapshot.attention, expected, rtol=1e-4, atol=1e-6)
    assert snapshot.probabilities.shape == (4, 4)
    np.testing.assert_allclose(snapshot.probabilities.sum(axis=-1), 1, rtol=1e-5)


def test_images_are_the_first_of_each_class(quadrants):
    chosen = snapshot_images(quadrants)
    labels = quadrants.y_validation.tolist()
    assert chosen.tolist() == [labels.index(label) for label in range(4)]


def test_of_many_classes_a_few_are_enough(quadrants):
    many = np.arange(80, dtype=np.int32) % 20
    data = type(quadrants)(**{**vars(quadrants), "y_validation": many})
    assert many[snapshot_images(data)].tolist() == list(range(MOST_IMAGES))
