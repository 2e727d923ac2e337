import jax
import numpy as np
import pytest
from scipy.special import softmax
from synthetic_results import random_params

from vit_hk import inference
from vit_hk.explain import patch_attention_model
from vit_hk.explain.patch_attention import patch_attention
from vit_hk.model import reference
from vit_hk.training.loop import train
from vit_hk.training.snapshots import MAX_IMAGES, SnapshotTaker, snapshot_indices


def test_snapshots_are_taken_after_the_epochs_of_the_settings_and_the_last_one(
    make_config, quadrants
):
    trained = train(make_config(epochs=4, snapshot_epochs=[1, 3, 9]), quadrants, 4)
    assert [snapshot.epoch for snapshot in trained.snapshots] == [1, 3, 4]
    # The last snapshot is that of the final weights.
    model = make_config().model
    last = SnapshotTaker(model, 4, quadrants).take(4, trained.params)
    np.testing.assert_allclose(last.attention, trained.snapshots[-1].attention, rtol=1e-5)
    assert np.abs(last.attention - trained.snapshots[0].attention).max() > 1e-3


@pytest.fixture(scope="module")
def taken(make_config, quadrants):
    settings = make_config().model
    weights = random_params(settings, (8, 8, 1), 4)
    return settings, weights, SnapshotTaker(settings, 4, quadrants).take(2, weights)


def test_attention_is_from_the_class_token_to_the_patches_and_probabilities_are_of_the_same_images(
    taken, quadrants
):
    settings, weights, snapshot = taken
    images = quadrants.x_validation[snapshot_indices(quadrants)]
    run = jax.jit(lambda weights, images: reference.vit(weights, images, settings))
    output = run(weights, quadrants.normalization(images))
    assert snapshot.epoch == 2
    assert snapshot.attention.shape == (1, 4, 2, 4)
    expected = output.attention[:, :, :, 0, 1:]
    np.testing.assert_allclose(snapshot.attention, expected, rtol=1e-4, atol=1e-6)
    expected = softmax(output.logits, axis=-1)
    assert np.ptp(expected, axis=0).min() > 1e-3
    np.testing.assert_allclose(snapshot.probabilities, expected, rtol=1e-4, atol=1e-6)


def test_images_whose_attention_does_not_fit_are_taken_one_after_the_other(
    taken, quadrants, monkeypatch
):
    settings, weights, snapshot = taken
    monkeypatch.setattr(inference, "CHUNK_BYTES", 1)
    at_a_time = set()

    def record(attention: np.ndarray, *rest: object) -> np.ndarray:
        at_a_time.add(len(attention))
        return patch_attention(attention, *rest)

    monkeypatch.setattr(patch_attention_model, "patch_attention", record)
    found = SnapshotTaker(settings, 4, quadrants).take(2, weights)
    assert at_a_time == {1}
    np.testing.assert_allclose(found.attention, snapshot.attention, rtol=1e-5)
    np.testing.assert_allclose(found.probabilities, snapshot.probabilities, rtol=1e-5)


def test_images_are_the_first_of_each_class(quadrants):
    indices = snapshot_indices(quadrants)
    labels = quadrants.y_validation.tolist()
    assert indices.tolist() == [labels.index(label) for label in range(4)]


def test_images_of_at_most_max_images_classes_are_chosen(quadrants):
    many = np.arange(80, dtype=np.int32) % 20
    data = type(quadrants)(**{**vars(quadrants), "y_validation": many})
    assert many[snapshot_indices(data)].tolist() == list(range(MAX_IMAGES))
