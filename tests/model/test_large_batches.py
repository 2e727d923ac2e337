"""Batches of more than 32,768 tokens against float64, on shapes that XLA may compile wrongly.

jaxlib 0.10.2 miscompiles, on a CPU, some products with a contraction of 3 and 2 or 3 outputs that a
reduction follows, from 32,769 rows on (jax-ml/jax issue 39103). These are the shapes of the project
that come nearest: RGB pixels as patches, and widths of 1 to 4, whose products no kernel
computes. On a CPU only the stage `attention` runs the model on so many tokens at a time.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vit_hk.data.normalization import Normalization
from vit_hk.inference import make_attention_gradient, run_model
from vit_hk.model import reference
from vit_hk.model.vit import make_model

NUM_IMAGES, IMAGE_SHAPE, NUM_CLASSES = 520, (8, 8, 3), 3
NORMALIZATION = Normalization((0.5, 0.4, 0.6), (0.25, 0.3, 0.2))
# Patches of one pixel: 64 or more tokens per image, 33,280 or more in all.
VARIANTS = {
    "width 2": {"hidden_size": 2, "mlp_dim": 3},
    "width 3": {"hidden_size": 3, "mlp_dim": 2},
    "width 3, qk norm": {"hidden_size": 3, "mlp_dim": 3, "qk_norm": True},
    "width 3, conv stem": {"hidden_size": 3, "mlp_dim": 3, "stem": "conv"},
    "width 16, kernels": {"hidden_size": 16, "mlp_dim": 32},
}


@pytest.fixture(params=VARIANTS)
def case(request, settings, random_params):
    """Return a model, its settings and parameters, and images."""
    chosen = {
        "patch_size": 1, "num_layers": 2, "num_heads": 1, "stem": "linear", "pool": "cls",
        "position": "learned", "registers": 0, "qk_norm": False,
    } | VARIANTS[request.param]  # fmt: skip
    model_settings = settings(**chosen)
    model = make_model(model_settings, NUM_CLASSES)
    images = np.random.default_rng(0).integers(0, 256, (NUM_IMAGES, *IMAGE_SHAPE), np.uint8)
    assert NUM_IMAGES * model_settings.num_tokens(IMAGE_SHAPE) > 32_768
    params = random_params(model, jnp.zeros((1, *IMAGE_SHAPE)))
    return model, model_settings, params, images


def in_float64(function, *arguments):
    with jax.enable_x64(True):
        exact = jax.tree.map(lambda x: np.asarray(x, np.float64), arguments)
        return jax.tree.map(np.asarray, jax.jit(function)(*exact))


def assert_close(actual, expected):
    for name in ("logits", "features", "attention"):
        wanted = getattr(expected, name)
        np.testing.assert_allclose(
            getattr(actual, name), wanted, rtol=0, atol=2e-4 * np.abs(wanted).max(), err_msg=name
        )


def test_forward_pass(case):
    model, model_settings, params, images = case
    actual = jax.jit(lambda p, x: run_model(model, p, x, NORMALIZATION))(params, images)
    scaled = np.asarray(NORMALIZATION(images), np.float64)
    expected = in_float64(lambda p, x: reference.vit(p, x, model_settings), params, scaled)
    assert_close(actual, expected)


def test_attention_gradient(case):
    model, _, params, images = case
    classes = np.arange(NUM_IMAGES) % NUM_CLASSES
    attention_gradient = make_attention_gradient(model, NORMALIZATION)
    output, gradient = attention_gradient(params, images, classes)
    # In parts, so that no product has more than 32,768 rows.
    parts = [
        attention_gradient(params, images[start : start + 65], classes[start : start + 65])
        for start in range(0, NUM_IMAGES, 65)
    ]
    expected = np.concatenate([part[1] for part in parts], axis=1)
    # LayerNorm of two elements gives 1 and -1, so the gradient of width 2 is rounding, some 4e-7.
    atol = 1e-6 + 2e-4 * np.abs(expected).max()
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=atol)
    logits = np.concatenate([part[0].logits for part in parts])
    np.testing.assert_allclose(output.logits, logits, rtol=0, atol=2e-4 * np.abs(logits).max())
