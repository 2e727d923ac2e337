"""The model with kernels and without computes the same."""

import jax
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from vit_hk.model.vit import make_model

USERS = ["attention", "gelu", "linear", "normalization"]
VARIANTS = {
    "default": ({}, {}),
    "patch tokens of a conv stem, scanned": (
        {"pool": "gap", "registers": 2, "stem": "conv", "patch_size": 4, "num_layers": 2},
        {"scan_layers": True},
    ),
    "queries and keys normalised, computed again": ({"qk_norm": True}, {"remat": True}),
}


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).normal(size=(3, 28, 28, 1)).astype(np.float32)


@pytest.fixture
def without_kernels(monkeypatch):
    def switch():
        for user in USERS:
            monkeypatch.setattr(f"vit_hk.model.{user}.fits", lambda *_: False)

    return switch


def slopes_and_logits(settings, params, images, **execution):
    model = make_model(settings, 10, **execution)

    def loss(params):
        logits = model.apply(params, None, images, is_training=True).logits
        return (logits**2).mean(), logits

    slopes, logits = jax.jit(jax.grad(loss, has_aux=True))(params)
    return ravel_pytree(slopes)[0], logits


@pytest.mark.parametrize(("changes", "execution"), VARIANTS.values(), ids=VARIANTS)
def test_outputs_and_gradients(
    default_architecture, random_params, images, without_kernels, changes, execution
):
    settings = default_architecture.model_copy(update=changes)
    params = random_params(make_model(settings, 10), images, False, deviation=0.15)
    found = slopes_and_logits(settings, params, images, **execution)
    program = jax.make_jaxpr(lambda p: slopes_and_logits(settings, p, images)[1])(params)
    assert "ffi_call" in str(program)
    without_kernels()
    expected = slopes_and_logits(settings, params, images, **execution)
    program = jax.make_jaxpr(lambda p: slopes_and_logits(settings, p, images)[1])(params)
    assert "ffi_call" not in str(program)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=2e-5 * abs(other).max())
