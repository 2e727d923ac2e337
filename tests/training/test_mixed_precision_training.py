"""A training with all options that save memory learns as well as one in float32 without them."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from vit_hk.data.normalization import Normalization
from vit_hk.training.data import TrainingData
from vit_hk.training.loop import train


@pytest.fixture(scope="module")
def digits():
    """Return 1,797 handwritten digits of 8 x 8 pixels."""
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))  # the file is ordered by writer
    images = (images[order] * 15).astype(np.uint8).reshape(-1, 8, 8, 1)
    labels = labels[order].astype(np.int32)
    return TrainingData(
        images[:1297], labels[:1297], images[1297:], labels[1297:],
        Normalization.from_images(images),
    )  # fmt: skip


def test_bfloat16_with_scan_and_remat_learns_as_well_as_float32(make_config, digits):
    model = {
        "patch_size": 2, "hidden_size": 32, "mlp_dim": 64, "num_layers": 2, "position": "learned",
    }  # fmt: skip
    memory_saving = {"precision": "bfloat16", "scan_layers": True, "remat": True}
    full, mixed = (
        train(make_config(model, epochs=8, batch_size=32, **execution), digits, 10).history
        for execution in ({}, memory_saving)
    )
    assert mixed[0].train_loss != full[0].train_loss
    assert mixed[0].train_loss == pytest.approx(full[0].train_loss, rel=0.05)
    assert full[-1].validation_accuracy > 0.85
    # From seed to seed, either accuracy varies by two points.
    assert mixed[-1].validation_accuracy > full[-1].validation_accuracy - 0.05
