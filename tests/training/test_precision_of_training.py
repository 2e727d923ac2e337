"""A real training in bfloat16 beside the same in float32."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from vit_hk.training.data import TrainingData
from vit_hk.training.loop import train


@pytest.fixture(scope="module")
def digits():
    """1,797 handwritten digits of 8 x 8 pixels."""
    images, labels = load_digits(return_X_y=True)
    images = (images * 15).astype(np.uint8).reshape(-1, 8, 8, 1)
    labels = labels.astype(np.int32)
    return TrainingData(
        images[:1297], labels[:1297], images[1297:], labels[1297:],
        mean=[float(images.mean() / 255)], std=[float(images.std() / 255)],
    )  # fmt: skip


def test_bfloat16_learns_as_well_as_float32(make_params, digits):
    model = {"patch_size": 2, "hidden_size": 32, "mlp_dim": 64, "num_layers": 2}
    full, mixed = (
        train(
            make_params(model, epochs=12, batch_size=32, learning_rate=0.01, precision=precision),
            digits,
            num_classes=10,
        )
        for precision in ("float32", "bfloat16")
    )
    losses = [[epoch.train_loss for epoch in trained.history] for trained in (full, mixed)]
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.2)
    reached = [trained.history[-1].validation_accuracy for trained in (full, mixed)]
    assert reached[0] > 0.9
    # One standard error of 500 images at 93 % is 1.1 points.
    assert reached[1] == pytest.approx(reached[0], abs=0.03)
    print(losses, reached)
