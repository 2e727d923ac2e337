"""Models that are written in other formats, and comparisons that all formats share."""

from typing import Any

import haiku as hk
import jax
import numpy as np

from vit_hk.inference import run_model
from vit_hk.model.vit import ViTOutput, make_model, parameter_shapes
from vit_hk.params import ModelSettings
from vit_hk.weights_metadata import WeightsInfo

TOLERANCE = 1e-5

# The size S of the benchmarks: images of 28 pixels and 10 classes.
SIZE_S = {
    "patch_size": 7, "stem": "linear", "hidden_size": 64, "num_layers": 4, "num_heads": 4,
    "mlp_dim": 128, "pool": "cls", "position": "learned", "dropout": 0.0, "drop_path": 0.0,
    "qk_norm": False, "registers": 0, "gelu": "erf", "norm_eps": 1e-6,
}  # fmt: skip


def make_info(image_shape=(28, 28, 1), num_classes=10, **changes: Any) -> WeightsInfo:
    channels = image_shape[2]
    return WeightsInfo(
        model=ModelSettings(**{**SIZE_S, **changes}),
        data="toy", source="drawn", class_names=[f"class {n}, é" for n in range(num_classes)],
        image_shape=list(image_shape), preparation=None,
        mean=[0.4, 0.5, 0.6][:channels], std=[0.3, 0.25, 0.2][:channels],
        seed=0, validation_fraction=0.5,
    )  # fmt: skip


def draw_params(info: WeightsInfo, std: float = 0.15) -> hk.Params:
    """Draw random parameters, also those that are initialized to 0 or 1."""
    random = np.random.default_rng(1)
    shapes = parameter_shapes(make_model(info.model, len(info.class_names)), info.image_shape)

    def draw(path: tuple[Any, ...], leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        array = random.standard_normal(leaf.shape, np.float32) * np.float32(std)
        return array + np.float32(path[-1].key == "scale")

    return jax.tree_util.tree_map_with_path(draw, shapes)


def draw_images(info: WeightsInfo, count: int) -> np.ndarray:
    return np.random.default_rng(2).integers(0, 256, (count, *info.image_shape), np.uint8)


def run_ours(params: hk.Params, info: WeightsInfo, images: np.ndarray) -> ViTOutput:
    """Run the model of this project on uint8 images."""
    model = make_model(info.model, len(info.class_names), scan_layers=info.model.num_layers > 4)
    run = jax.jit(lambda params, images: run_model(model, params, images, info.normalization))
    return jax.tree.map(np.asarray, run(params, images))


def normalized(info: WeightsInfo, images: np.ndarray) -> np.ndarray:
    """Return images as PyTorch models see them, float32 [images, channels, height, width]."""
    mean, std = np.array(info.mean), np.array(info.std)
    return (((images / 255) - mean) / std).astype(np.float32).transpose(0, 3, 1, 2)


def assert_same_params(found: hk.Params, expected: hk.Params) -> None:
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, found, expected)
