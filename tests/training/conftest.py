from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from settings_file import AS_THEY_ARE, AUGMENTATION_OFF

from vit_hk.data.normalization import Normalization
from vit_hk.params import Config
from vit_hk.training.data import TrainingData

MODEL = {
    "patch_size": 4,
    "stem": "linear",
    "hidden_size": 16,
    "num_layers": 1,
    "num_heads": 2,
    "mlp_dim": 16,
    "pool": "cls",
    "position": "sincos2d",
    "dropout": 0.0,
    "drop_path": 0.0,
    "qk_norm": False,
    "registers": 0,
    "gelu": "erf",
    "norm_eps": 1e-6,
}
TRAIN = {
    "init_from": "models/random",
    "freeze": [],
    "layer_decay": 1.0,
    "epochs": 3,
    "batch_size": 16,
    "optimizer": "adamw",
    "learning_rate": 0.01,
    "warmup_epochs": 1.0,
    "weight_decay": 0.05,
    "label_smoothing": 0.0,
    "class_weights": "none",
    "grad_clip": 1.0,
    "sam_rho": 0.0,
    "ema_decay": 0.0,
    "validation_fraction": 0.25,
    "snapshot_epochs": [],
    "checkpoint_steps": 0,
    "precision": "float32",
    "scan_layers": False,
    "remat": False,
}


@pytest.fixture(scope="session")
def make_config() -> Callable[..., Config]:
    """Return a function that makes the settings of a small training, with changes."""

    def make(
        model: dict[str, Any] | None = None,
        seed: int = 0,
        augment: dict[str, Any] | None = None,
        **train: Any,
    ) -> Config:
        return Config.model_validate(
            {
                "seed": seed,
                "platform": "cpu",
                "data": {"name": "mnist", "root": "data/raw", "offline": "fail", **AS_THEY_ARE},
                "model": {**MODEL, **(model or {})},
                "train": {**TRAIN, **train, "augment": {**AUGMENTATION_OFF, **(augment or {})}},
                "evaluate": {
                    "batch_size": 100,
                    "faithfulness_share": 0.1,
                    "corruption_share": 0.1,
                    "corruptions": ["thin"],
                },
                "attention": {
                    "num_images": 1,
                    "num_wrong": 0,
                    "images": [],
                    "head_fusion": "mean",
                    "discard_ratio": 0.0,
                },
            }
        )

    return make


@pytest.fixture(scope="session")
def quadrants() -> TrainingData:
    """Return images of dark noise with one bright quadrant, whose number is the class."""
    random = np.random.default_rng(0)
    labels = np.arange(240, dtype=np.int32) % 4
    images = random.integers(0, 50, (240, 8, 8, 1), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        row, column = 4 * (label // 2), 4 * (label % 2)
        image[row : row + 4, column : column + 4] += 200
    return TrainingData(
        x_train=images[:160],
        y_train=labels[:160],
        x_validation=images[160:],
        y_validation=labels[160:],
        normalization=Normalization.from_images(images[:160]),
    )
