from collections.abc import Callable

import haiku as hk
import jax
import numpy as np
import pytest

from vit_hk.params import ModelSettings

# Small, and no two sizes alike where they need not be, so that swapped axes show.
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
}


@pytest.fixture(scope="session")
def settings() -> Callable[..., ModelSettings]:
    """Settings of a small model, with changes."""
    return lambda **changes: ModelSettings(**{**SMALL, **changes})


@pytest.fixture(scope="session")
def default_architecture() -> ModelSettings:
    """What params.yaml ships with; written out so that trying other settings breaks no test."""
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
    )


@pytest.fixture(scope="session")
def random_params() -> Callable[..., hk.Params]:
    """Parameters of a model where nothing is left at 0 or 1, as the initialisation leaves it."""

    def make(transformed: hk.Transformed, *arguments: object, deviation: float = 0.4) -> hk.Params:
        generator = np.random.default_rng(1)
        key = jax.random.key(0)
        shapes = jax.eval_shape(lambda: transformed.init(key, *arguments))
        return {
            module: {
                name: (deviation * generator.normal(size=x.shape) + (name == "scale")).astype(
                    np.float32
                )
                for name, x in leaves.items()
            }
            for module, leaves in shapes.items()
        }

    return make
