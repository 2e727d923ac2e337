from collections.abc import Callable
from typing import Any

import haiku as hk
import jax
import numpy as np
import pytest

from vit_hk.params import ModelSettings

# Small, and with different sizes where possible, so that a swap of axes is noticed.
SMALL = {
    "patch_size": 2,
    "stem": "linear",
    "hidden_size": 8,
    "num_layers": 2,
    "num_heads": 2,
    "mlp_dim": 12,
    "pool": "cls",
    "position": "learned",
    "dropout": 0.0,
    "drop_path": 0.0,
    "qk_norm": False,
    "registers": 0,
    "gelu": "erf",
    "norm_eps": 1e-6,
}


@pytest.fixture(scope="session")
def settings() -> Callable[..., ModelSettings]:
    """Return a function that makes the settings of a small model, with changes."""
    return lambda **changes: ModelSettings(**{**SMALL, **changes})


@pytest.fixture(scope="session")
def default_architecture() -> ModelSettings:
    """Return the architecture of params.yaml, written out so that editing it breaks no test."""
    return ModelSettings(
        patch_size=7,
        stem="linear",
        hidden_size=64,
        num_layers=4,
        num_heads=4,
        mlp_dim=128,
        pool="cls",
        position="learned",
        dropout=0.0,
        drop_path=0.0,
        qk_norm=False,
        registers=0,
        gelu="erf",
        norm_eps=1e-6,
    )


@pytest.fixture(scope="session")
def random_params() -> Callable[..., hk.Params]:
    """Return a function that draws random parameters, also those that are initialized to 0 or 1."""

    def draw(transformed: hk.Transformed, *arguments: object, std: float = 0.4) -> hk.Params:
        random = np.random.default_rng(1)
        shapes = jax.eval_shape(lambda: transformed.init(jax.random.key(0), *arguments))

        def draw_one(path: tuple[Any, ...], leaf: jax.ShapeDtypeStruct) -> np.ndarray:
            mean = 1.0 if path[-1].key == "scale" else 0.0
            return random.normal(mean, std, leaf.shape).astype(np.float32)

        return jax.tree_util.tree_map_with_path(draw_one, shapes)

    return draw
