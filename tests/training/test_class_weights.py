import dataclasses

import jax
import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.utils.class_weight import compute_class_weight

from vit_hk.training.class_weights import balanced_class_weights
from vit_hk.training.microbatches import Microbatch
from vit_hk.training.train_step import build_train_step


def test_balanced_weights_by_hand():
    # 8 images of two classes: 8 / (2 · 6) and 8 / (2 · 2); class 1 has none.
    weights = balanced_class_weights(np.array([0] * 6 + [2] * 2), 3)
    np.testing.assert_allclose(weights, [2 / 3, 0, 2])


def test_balanced_weights_equal_those_of_scikit_learn():
    labels = np.random.default_rng(0).choice(5, 300, p=[0.5, 0.3, 0.1, 0.08, 0.02])
    weights = balanced_class_weights(labels, 5)
    expected = compute_class_weight("balanced", classes=np.arange(5), y=labels)
    np.testing.assert_allclose(weights, expected, rtol=1e-6)
    assert weights[labels].mean() == pytest.approx(1, rel=1e-6)


def test_training_minimizes_the_weighted_loss(make_config, quadrants):
    kept = np.flatnonzero((quadrants.y_train != 3) | (np.arange(len(quadrants.y_train)) % 16 == 3))
    data = dataclasses.replace(
        quadrants, x_train=quadrants.x_train[kept], y_train=quadrants.y_train[kept]
    )
    plain, balanced = (
        build_train_step(make_config(class_weights=choice, batch_size=8), data, 4)
        for choice in ("none", "balanced")
    )
    assert plain.class_weights is None
    images, labels = data.normalization(data.x_train), data.y_train
    random = np.random.default_rng(0)
    weights = jax.tree.map(
        lambda leaf: random.normal(0.0, 0.3, leaf.shape).astype(np.float32), plain.param_shapes
    )
    keys = jax.random.split(jax.random.key(0), len(labels))

    @jax.jit
    def logits_and_losses(weights, images, labels, keys):
        batch = Microbatch(images, labels, None, keys)
        logits = plain.model.apply(weights, images, keys).logits
        return logits, plain.loss(weights, batch), balanced.loss(weights, batch)

    logits, plain_loss, balanced_loss = logits_and_losses(weights, images, labels, keys)
    losses = -log_softmax(np.asarray(logits), axis=1)[np.arange(len(labels)), labels]
    factors = len(labels) / 4 / np.bincount(labels)[labels]
    assert float(plain_loss) == pytest.approx(losses.mean(), rel=1e-5)
    assert float(balanced_loss) == pytest.approx((factors * losses).mean(), rel=1e-5)
