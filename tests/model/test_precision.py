"""Mixed precision: what is computed in bfloat16, what in float32, and how results differ."""

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
from jax.flatten_util import ravel_pytree
from jaxpr import operations

from vit_hk.model.block import Block
from vit_hk.model.gelu import gelu
from vit_hk.model.precision import computing_in
from vit_hk.model.vit import make_model, parameter_shapes

EPSILON = 2.0**-8  # the relative distance between neighbouring bfloat16 numbers
NUM_TOKENS, NUM_CLASSES = 7, 5
VARIANTS = [{}, {"pool": "gap", "qk_norm": True, "registers": 1}, {"stem": "hybrid"}]
LABELS = np.array([0, 3, 4, 1])


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).normal(size=(4, 6, 4, 1)).astype(np.float32)  # 3 x 2 patches


def make_loss(model, images):
    def loss(params):
        output = model.apply(params, images)
        loss = optax.softmax_cross_entropy_with_integer_labels(output.logits, LABELS).mean()
        return loss, output

    return loss


def dtypes(values):
    return {str(value.aval.dtype) for value in values}


def shapes(values):
    return [value.aval.shape for value in values]


def test_gelu_of_negative_numbers_keeps_its_digits():
    x = jnp.linspace(-4, 4, 65, dtype=jnp.bfloat16)
    exact = np.float64(x) * scipy.special.ndtr(np.float64(x))
    np.testing.assert_allclose(np.float64(gelu(x, "erf")), exact, rtol=EPSILON)


@pytest.mark.parametrize("changes", VARIANTS, ids=["cls", "gap", "hybrid"])
def test_matmuls_are_bfloat16_and_layer_norm_and_softmax_float32(
    monkeypatch, settings, random_params, images, changes
):
    monkeypatch.setenv("VIT_HK_KERNELS", "0")  # as on a GPU, which bfloat16 is for
    model = make_model(settings(**changes), NUM_CLASSES, "bfloat16")
    params = random_params(model, images)
    found = operations(jax.grad(make_loss(model, images), has_aux=True), params)
    matmuls = [op for op in found if op.primitive.name == "dot_general"]
    means = [op for op in matmuls if shapes(op.invars)[1][-1:] == (1,)]  # of LayerNorm
    assert dtypes(value for op in means for value in [*op.invars, *op.outvars]) == {"float32"}
    head = [op for op in matmuls if any(NUM_CLASSES in shape for shape in shapes(op.invars))]
    assert len(head) == 3  # logits, gradient of the weights, gradient of the features
    others = [op for op in matmuls if op not in means and op not in head]
    # Two blocks of six matmuls, each with two gradients; and the patch embedding.
    assert len(others) > 3 * 2 * 6
    assert dtypes(value for op in others for value in [*op.invars, *op.outvars]) == {"bfloat16"}
    inverse_stds = [op for op in found if op.primitive.name == "rsqrt"]
    weights = [op for op in found if shapes(op.outvars)[0][-1:] == (NUM_TOKENS,)]
    softmax = [op for op in weights if op.primitive.name in ("exp", "div", "sub")]
    assert inverse_stds
    assert softmax
    assert dtypes(value for op in inverse_stds + softmax for value in op.invars) == {"float32"}


def test_float32_traces_the_same_program_before_and_after_bfloat16(settings, images):
    def trace(*precision):
        model = make_model(settings(qk_norm=True), NUM_CLASSES, *precision)
        params = parameter_shapes(model, images.shape[1:])
        return str(jax.make_jaxpr(jax.grad(make_loss(model, images), has_aux=True))(params))

    default = trace()
    assert "bf16" not in default
    assert "bf16" in trace("bfloat16")
    assert trace("float32") == default


@pytest.mark.parametrize("stem", ["linear", "hybrid"])
def test_results_differ_by_rounding_alone(settings, random_params, images, stem):
    s = settings(qk_norm=True, registers=1, stem=stem)
    full, mixed = (make_model(s, NUM_CLASSES, precision) for precision in ("float32", "bfloat16"))
    params = random_params(full, images)
    (_, expected), expected_gradients = run(full, params, images)
    (_, output), gradients = run(mixed, params, images)
    for array, expected_array in zip(output, expected, strict=True):
        assert array.dtype == jnp.float32
        assert 0 < relative_distance(array, expected_array) < 4 * EPSILON
    flat, expected_flat = (ravel_pytree(tree)[0] for tree in (gradients, expected_gradients))
    assert flat.dtype == jnp.float32
    assert 0 < relative_distance(flat, expected_flat) < 8 * EPSILON


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_residual_connections_are_not_rounded(precision):
    # With parameters of 0, all that a block returns is what passes by its branches.
    def forward(x):
        return Block(num_heads=2, mlp_dim=12, gelu="erf", norm_eps=1e-6, name="block")(x, 4)[0]

    x = np.random.default_rng(0).normal(size=(12, 8)).astype(np.float32)
    block = hk.without_apply_rng(hk.transform(forward))
    with computing_in(precision):
        params = jax.tree.map(jnp.zeros_like, block.init(jax.random.key(0), x))
        np.testing.assert_array_equal(block.apply(params, x), x)


def run(model, params, images):
    """Return loss, output, and the gradient of the loss."""
    return jax.jit(jax.value_and_grad(make_loss(model, images), has_aux=True))(params)


def relative_distance(actual, expected):
    return jnp.linalg.norm((actual - expected).ravel()) / jnp.linalg.norm(expected.ravel())


def test_initial_parameters_are_the_same_float32_numbers(settings, images):
    key, s = jax.random.key(0), settings(qk_norm=True)
    models = [make_model(s, NUM_CLASSES, precision) for precision in ("float32", "bfloat16")]
    full, mixed = jax.jit(lambda: [model.init(key, images) for model in models])()
    for expected, array in zip(*map(jax.tree.leaves, (full, mixed)), strict=True):
        assert array.dtype == jnp.float32
        np.testing.assert_array_equal(array, expected)
