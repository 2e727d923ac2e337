"""Non-finite inputs give non-finite outputs: otherwise training would go on with wrong weights."""

import jax
import numpy as np
import pytest

from vit_hk.kernels.attention import attend
from vit_hk.kernels.class_token_attention import attend_from_class_token
from vit_hk.kernels.gelu import gelu
from vit_hk.kernels.layer_norm import layer_norm, layer_norm_and_input
from vit_hk.kernels.linear import linear, linear_residual
from vit_hk.kernels.mlp import mlp_residual

pytestmark = pytest.mark.usefixtures("simd_target")

NUM_TOKENS, SIZE = 5, 16
NON_FINITE = [np.nan, np.inf, -np.inf]


@pytest.fixture
def qkv():
    return np.random.default_rng(0).normal(size=(2 * NUM_TOKENS, 3 * SIZE)).astype(np.float32)


@pytest.mark.parametrize("value", NON_FINITE, ids=str)
@pytest.mark.parametrize("part", range(3), ids=["q", "k", "v"])
def test_attention(qkv, value, part):
    finite = np.asarray(attend(qkv, NUM_TOKENS, 1))
    qkv[1, SIZE * part + 3] = value
    actual = np.asarray(attend(qkv, NUM_TOKENS, 1))
    np.testing.assert_array_equal(actual[NUM_TOKENS:], finite[NUM_TOKENS:])  # the other image
    # A query affects its own token only, a key and a value affect all tokens of the image.
    affected = actual[1] if part == 0 else actual[:NUM_TOKENS]
    assert not np.isfinite(affected).all()


@pytest.mark.parametrize("part", range(3), ids=["q", "k", "v"])
def test_gradient_of_attention(qkv, part):
    qkv[1, SIZE * part + 3] = np.nan
    assert np.isnan(jax.grad(lambda qkv: attend(qkv, NUM_TOKENS, 1)[1, 0])(qkv)).any()


@pytest.fixture
def class_token_inputs():
    random = np.random.default_rng(0)
    shapes = [(2 * NUM_TOKENS, SIZE), (SIZE, 3 * SIZE), (3 * SIZE,)]
    return [random.normal(size=shape).astype(np.float32) for shape in shapes]


def from_class_token(x, w, b):
    return attend_from_class_token(x, w, b, NUM_TOKENS, 2)


@pytest.mark.parametrize("value", NON_FINITE, ids=str)
@pytest.mark.parametrize("token", range(3))
def test_class_token_attention(class_token_inputs, value, token):
    class_token_inputs[0][NUM_TOKENS + token, 3] = value
    out, backward = jax.vjp(from_class_token, *class_token_inputs)
    assert np.isfinite(out[0]).all()  # of the other image
    assert not np.isfinite(out[1]).any()
    d_x, d_w, _ = backward(np.ones_like(out))
    assert np.isfinite(d_x[:NUM_TOKENS]).all()
    assert not np.isfinite(d_x[NUM_TOKENS:]).all()
    assert not np.isfinite(d_w).all()


@pytest.mark.parametrize("value", NON_FINITE, ids=str)
@pytest.mark.parametrize("part", range(3), ids=["q", "k", "v"])
@pytest.mark.parametrize("array", [1, 2], ids=["w", "b"])
def test_weights_of_class_token_attention(class_token_inputs, value, part, array):
    class_token_inputs[array][..., SIZE * part + 3] = value
    out, backward = jax.vjp(from_class_token, *class_token_inputs)
    d_x, *_ = backward(np.ones_like(out))
    has_influence = (array, part) != (2, 1)  # not so the bias of the keys
    assert np.isfinite(out).all() != has_influence
    is_added = (array, part) == (2, 2)  # the bias of the values
    assert np.isfinite(d_x).all() == (is_added or not has_influence)


MLP_SHAPES = {
    "x": (3, SIZE), "w_in": (SIZE, 24), "b_in": (24,), "w_out": (24, SIZE), "b_out": (SIZE,),
    "residual": (3, SIZE),
}  # fmt: skip


@pytest.mark.parametrize("name", MLP_SHAPES)
def test_mlp(name):
    random = np.random.default_rng(0)
    inputs = {key: np.float32(random.normal(size=shape)) for key, shape in MLP_SHAPES.items()}
    inputs[name].flat[-1] = np.nan
    out, backward = jax.vjp(mlp_residual, *inputs.values())
    gradients = dict(zip(inputs, backward(np.ones_like(out)), strict=True))
    is_nan = np.isnan(out)
    if name == "x":
        assert is_nan.all(axis=1).tolist() == is_nan.any(axis=1).tolist() == [False, False, True]
    elif name == "residual":
        assert is_nan.sum() == 1
    else:
        assert is_nan.any(axis=1).all()
    # The gradient of a sum does not depend on its summands.
    is_summand = name in ("b_out", "residual")
    assert np.isnan(gradients["x"]).any() != is_summand
    assert np.isnan(gradients["w_in"]).any() != is_summand


@pytest.mark.parametrize("gradient", range(2), ids=["of the LayerNorm", "of x"])
def test_gradient_of_layer_norm_and_input(gradient):
    x = np.random.default_rng(0).normal(size=(3, SIZE)).astype(np.float32)
    _, backward = jax.vjp(layer_norm_and_input, x, x[0], x[1])
    gradients = np.ones_like(x), np.ones_like(x)
    gradients[gradient][1, 3] = np.nan
    d_x, *_ = backward(gradients)
    assert np.isnan(d_x).sum() == (SIZE if gradient == 0 else 1)
    assert np.isnan(d_x[1, 3])


@pytest.mark.parametrize("value", NON_FINITE, ids=str)
def test_linear_and_layer_norm(value):
    x, w, b = (
        np.ones((3, SIZE), np.float32),
        np.ones((SIZE, SIZE), np.float32),
        np.ones(SIZE, np.float32),
    )
    x[1, 3] = value
    ones = np.ones_like(x)
    assert np.isfinite(linear_residual(ones, w, b, x)).sum() == x.size - 1
    mlp = mlp_residual(x, w, b, w, b, ones)
    for actual in (linear(x, w, b), layer_norm(x, b, b), layer_norm_and_input(x, b, b)[0], mlp):
        assert np.isfinite(actual).all(axis=1).tolist() == [True, False, True]
        assert not np.isfinite(actual[1]).any()


def test_gelu():
    x = np.ones((1, SIZE), np.float32)
    x[0, 3] = np.nan
    actual, backward = jax.vjp(gelu, x)
    (d_x,) = backward(np.ones_like(x))
    assert np.isnan(actual).tolist() == np.isnan(d_x).tolist() == np.isnan(x).tolist()
