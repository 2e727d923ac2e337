"""The Haiku model, with kernels and without, computes what the plain jax.numpy model computes.

The reference runs in float64, so that the differences are the rounding of the Haiku model alone.
"""

import functools
import re
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
import pytest

from vit_hk.model import reference
from vit_hk.model.vit import make_model
from vit_hk.params import ModelSettings

BATCH, NUM_CLASSES = 3, 5
LABELS = np.array([4, 0, 2])
TOLERANCE = 5e-6  # of float32, whose numbers have a relative distance of 1e-7
XLA_TOLERANCE = 1e-5  # without kernels, XLA adds in another order on each kind of processor
MODULES_WITH_KERNELS = ["attention", "block", "gelu", "layer_norm", "linear"]
# No size of this model is a multiple of 8 or 16, the numbers of lanes of long SIMD vectors.
BASE = {
    "patch_size": 4, "stem": "linear", "hidden_size": 36, "num_layers": 2, "num_heads": 3,
    "mlp_dim": 50, "pool": "cls", "position": "learned", "dropout": 0.0, "drop_path": 0.0,
    "qk_norm": False, "registers": 0, "gelu": "erf", "norm_eps": 1e-6,
}  # fmt: skip


class Variant(NamedTuple):
    """Changes of `BASE`, the shape of the images, and how the blocks are executed."""

    changes: dict[str, Any]
    image_shape: tuple[int, int, int] = (8, 12, 3)
    scan_layers: bool = False
    remat: bool = False


# Each pair of the choices of pool, registers, position, qk_norm, GELU, execution, and of the stems
# linear and conv, occurs.
TANH = {"gelu": "tanh", "norm_eps": 1e-3}
VARIANTS = {
    "default architecture": Variant(
        {"patch_size": 7, "hidden_size": 64, "num_layers": 4, "num_heads": 4, "mlp_dim": 128},
        (28, 28, 1),
    ),
    "gap-registers-sincos2d-qk_norm-conv-tanh-remat": Variant(
        {"pool": "gap", "registers": 2, "position": "sincos2d", "qk_norm": True, "stem": "conv"}
        | TANH,
        remat=True,
    ),
    "cls-registers-qk_norm-conv-scan": Variant(
        {"registers": 3, "qk_norm": True, "stem": "conv", "num_layers": 3}, scan_layers=True
    ),
    "cls-learned-cct": Variant({"stem": "cct"}),
    "gap-learned-hybrid-tanh-remat": Variant({"pool": "gap", "stem": "hybrid", **TANH}, remat=True),
    "cls-registers-sincos2d-qk_norm-hybrid-remaining_patch": Variant(
        {
            "registers": 1,
            "position": "sincos2d",
            "qk_norm": True,
            "stem": "hybrid",
            "patch_size": 6,
        },
        (6, 12, 1),
    ),
    "gap-sincos2d-tanh-scan": Variant(
        {"pool": "gap", "position": "sincos2d", **TANH}, scan_layers=True
    ),
    "gap-sincos2d-qk_norm-conv-odd_patch": Variant(
        {"pool": "gap", "position": "sincos2d", "qk_norm": True, "stem": "conv", "patch_size": 3},
        (9, 6, 2),
    ),
    "cls-registers-tanh-remat": Variant({"registers": 2, **TANH}, remat=True),
    "cls-sincos2d-qk_norm-remat-one_column": Variant(
        {"position": "sincos2d", "qk_norm": True, "patch_size": 2}, (8, 2, 1), remat=True
    ),
    "gap-registers-conv-tanh-one_layer": Variant(
        {"pool": "gap", "registers": 2, "stem": "conv", "num_layers": 1, **TANH}
    ),
}
WITHOUT_KERNELS = list(VARIANTS)[:4]


@pytest.fixture(scope="module")
def inputs(random_params):
    """Return a function that draws the settings, parameters and images of a variant."""

    @functools.cache
    def draw(name):
        variant = VARIANTS[name]
        settings = ModelSettings(**{**BASE, **variant.changes})
        images = np.random.default_rng(0).normal(size=(BATCH, *variant.image_shape))
        images = images.astype(np.float32)
        model = make_model(settings, NUM_CLASSES)
        return settings, random_params(model, images, std=0.15), images

    return draw


def gradients_and_output(run):
    """Return a function that gives the gradients of the loss, and the output of the model."""

    def loss(params, images):
        output = run(params, images)
        return optax.softmax_cross_entropy_with_integer_labels(output.logits, LABELS).mean(), output

    return jax.grad(loss, has_aux=True)


@pytest.fixture(scope="module")
def expected(inputs):
    """Return a function that computes the gradients and the output of the reference in float64."""

    @functools.cache
    def compute(name):
        settings, params, images = inputs(name)
        run = functools.partial(reference.vit, settings=settings)
        with jax.enable_x64(True):
            return jax.jit(gradients_and_output(run))(*jax.tree.map(np.float64, (params, images)))

    return compute


def kernels_of(inputs, keys, **changes):
    """Return the names of the kernels of a forward and backward pass with these settings."""
    settings, params, images = inputs("default architecture")
    model = make_model(settings.model_copy(update=changes), NUM_CLASSES)
    run = gradients_and_output(lambda params, images: model.apply(params, images, keys))
    return set(re.findall(r"vit_hk_([a-z_]+)_\d", str(jax.make_jaxpr(run)(params, images))))


def test_kernels_of_each_part_of_a_block(inputs):
    assert kernels_of(inputs, jax.random.split(jax.random.key(0), BATCH)) >= {
        "attention_forward", "attention_backward",
        "class_token_attention_forward", "class_token_attention_backward",
        "linear_residual_forward", "layer_norm_and_input_backward",
        "mlp_forward", "mlp_backward_x", "mlp_backward_w_b",
    }  # fmt: skip


@pytest.mark.parametrize(
    "changes", [{"gelu": "tanh"}, {"dropout": 0.1}, {"drop_path": 0.1}], ids=str
)
def test_kernels_that_tanh_and_regularization_leave_out(inputs, changes):
    keys = jax.random.split(jax.random.key(0), BATCH)
    kernels = kernels_of(inputs, keys, **changes)
    assert "mlp_forward" not in kernels
    assert ("linear_residual_forward" in kernels) == ("gelu" in changes)
    without_randomness = kernels_of(inputs, None, **changes)
    assert ("mlp_forward" in without_randomness) == ("gelu" not in changes)


@pytest.mark.parametrize("name", VARIANTS)
def test_with_kernels_outputs_and_gradients_equal_the_reference(inputs, expected, name):
    compare_with_reference(inputs, expected, name, uses_kernels=True)


@pytest.mark.parametrize("name", WITHOUT_KERNELS)
def test_without_kernels_outputs_and_gradients_equal_the_reference(
    inputs, expected, monkeypatch, name
):
    for module in MODULES_WITH_KERNELS:
        monkeypatch.setattr(f"vit_hk.model.{module}.is_supported", lambda *_: False)
    compare_with_reference(inputs, expected, name, uses_kernels=False)


def compare_with_reference(inputs, expected, name, uses_kernels):
    variant = VARIANTS[name]
    settings, params, images = inputs(name)
    model = make_model(settings, NUM_CLASSES, scan_layers=variant.scan_layers, remat=variant.remat)
    run = gradients_and_output(lambda params, images: model.apply(params, images))
    traced = jax.jit(run).trace(params, images)
    assert ("ffi_call" in str(traced.jaxpr)) is uses_kernels
    assert_close = functools.partial(check_close, TOLERANCE if uses_kernels else XLA_TOLERANCE)
    gradients, output = traced.lower().compile()(params, images)
    expected_gradients, expected_output = expected(name)

    for found, exact in zip(output, expected_output, strict=True):
        assert_close(found, exact)
    assert jax.tree.structure(gradients) == jax.tree.structure(expected_gradients)
    for module, arrays in gradients.items():
        for array, found in arrays.items():
            if module.endswith("k_norm") and array == "offset":
                # It adds the same number to all scores of a query, and the softmax cancels that.
                assert np.abs(found).max() < 1e-7
            else:
                assert_close(found, expected_gradients[module][array])


def check_close(tolerance, found, exact):
    """Check that errors are small relative to the largest element of the array."""
    assert found.dtype == np.float32
    largest = np.abs(exact).max()
    assert largest > 1e-3
    np.testing.assert_allclose(found, exact, rtol=0, atol=tolerance * largest)
