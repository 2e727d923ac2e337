"""A small model with random weights, and a calibration of its own, as a file."""

from pathlib import Path

import jax
import numpy as np

from vit_hk.calibration import Calibration
from vit_hk.model.vit import make_model, parameter_shapes
from vit_hk.params import ModelSettings, Preparation
from vit_hk.weights import save_weights
from vit_hk.weights_metadata import WeightsInfo

HEIGHT, WIDTH = 8, 12
CLASSES = ["left", "mid\tdle", "right"]
MODEL = ModelSettings(
    patch_size=4, stem="linear", hidden_size=8, num_layers=2, num_heads=2, mlp_dim=6,
    pool="cls", position="learned", dropout=0.0, drop_path=0.0, qk_norm=False, registers=1,
    gelu="erf", norm_eps=1e-6,
)  # fmt: skip
INFO = WeightsInfo(
    model=MODEL, data="toy", source="drawn", class_names=CLASSES, image_shape=[HEIGHT, WIDTH, 1],
    preparation=Preparation(
        height=HEIGHT, width=WIDTH, channels=1, resize="pad", background=0
    ),
    mean=[0.2], std=[0.3], seed=0, validation_fraction=0.5,
)  # fmt: skip


def random_params(info: WeightsInfo = INFO) -> dict[str, dict[str, np.ndarray]]:
    random = np.random.default_rng(0)
    shapes = parameter_shapes(make_model(MODEL, len(CLASSES)), info.image_shape)
    return jax.tree.map(lambda x: random.normal(size=x.shape).astype(np.float32), shapes)


def random_calibration() -> Calibration:
    """Return a calibration for training images with a dark border."""
    random = np.random.default_rng(1)
    return Calibration(
        temperature=np.float32(2.5),
        class_means=random.normal(size=(3, 8)).astype(np.float32),
        whitening=random.normal(size=(8, 8)).astype(np.float32),
        threshold=np.float32(9.0),
        border_range=np.float32([0.0, 0.1]),
    )


def save_small_model(path: Path, info: WeightsInfo = INFO, calibrated: bool = True) -> Path:
    save_weights(path, random_params(info), info, random_calibration() if calibrated else None)
    return path


def random_images(count: int) -> np.ndarray:
    """Return bright noise inside of a dark border, uint8 [count, 8, 12]."""
    images = np.zeros((count, HEIGHT, WIDTH), np.uint8)
    inner = np.random.default_rng(2).integers(0, 256, (count, HEIGHT - 2, WIDTH - 2))
    images[:, 1:-1, 1:-1] = inner
    return images
