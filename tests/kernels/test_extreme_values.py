"""Kernels and the plain path agree on extreme values: infinite, NaN, huge, tiny, negative zero."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vit_hk.kernels.attention import attend
from vit_hk.kernels.class_token_attention import attend_from_class_token
from vit_hk.kernels.gelu import gelu
from vit_hk.kernels.layer_norm import EPSILON, layer_norm
from vit_hk.kernels.linear import linear
from vit_hk.kernels.mlp import mlp_residual
from vit_hk.model.class_token_attention import ClassTokenAttention

pytestmark = pytest.mark.usefixtures("simd_target")

NUM_TOKENS, SIZE = 5, 16
NAN_WITH_PAYLOAD = np.uint32(0x7FC00123).view(np.float32)
# Scores of single keys: the queries are 1 and 0, so a key's first element is its score.
SCORES = [
    [np.nan, 0, 1, 2, 3],
    [NAN_WITH_PAYLOAD, 0, 1, 2, 3],
    [0, 1, 2, 3, np.nan],
    [-np.inf, 0, 1, 2, 3],
    [-np.inf, -np.inf, -np.inf, -np.inf, 1],
    [-np.inf] * 5,
    [np.inf, 0, 1, 2, 3],
    [np.inf, -np.inf, 1, 2, 3],
    [2.5e38, 0, 1, 2, 3],
    [3.4e38, 3.4e38, 1, 2, 3],
    [-2.5e38] * 5,
    [-2.5e38, 2.5e38, 0, 0, 0],
    [3.4e38, -3.4e38, 0, 0, 0],
    [1e-45, -1e-45, 0.0, -0.0, 1e-38],
    [0, -80, -87, -88, -104],
    [0, -1e4, -1e30, -3e38, -1],
]
MAGNITUDES = [np.inf, 3.4e38, 1e30, 1e10, 1e4, 100, 12, 1, 1e-20, 1e-45, 0.0]
VALUES = np.float32([np.nan, NAN_WITH_PAYLOAD, *MAGNITUDES, *np.negative(MAGNITUDES)])


def assert_same(actual, expected, rtol=1e-5, atol=1e-30):
    """Compare two arrays in which infinities and NaN have the same places."""
    np.testing.assert_allclose(actual, expected, rtol=rtol, atol=atol)


def plain_attention(qkv):
    q, k, v = jnp.split(jnp.asarray(qkv), 3, axis=-1)
    return jax.nn.softmax((q * SIZE**-0.5) @ k.T, axis=-1) @ v


@pytest.mark.parametrize("scores", SCORES, ids=str)
def test_attention(scores):
    qkv = np.zeros((NUM_TOKENS, 3 * SIZE), np.float32)
    qkv[:, 0] = SIZE**0.5
    qkv[:, SIZE] = scores
    qkv[:, 2 * SIZE :] = np.random.default_rng(0).normal(size=(NUM_TOKENS, SIZE))
    expected, backward = jax.vjp(plain_attention, qkv)
    actual, kernel_backward = jax.vjp(lambda qkv: attend(qkv, NUM_TOKENS, 1), qkv)
    assert_same(actual, expected)
    d_out = np.ones_like(expected)
    # The gradient of queries is a sum of products with huge keys, in which both paths overflow.
    queries = slice(SIZE, None)
    assert_same(
        kernel_backward(d_out)[0][:, queries], backward(d_out)[0][:, queries], rtol=1e-3, atol=1e-6
    )


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 3e38], ids=str)
@pytest.mark.parametrize("score", [0.0, -200.0, -np.inf], ids=str)
def test_attention_of_extreme_values(value, score):
    qkv = np.zeros((NUM_TOKENS, 3 * SIZE), np.float32)
    qkv[:, 0] = SIZE**0.5
    qkv[0, SIZE] = score  # a weight of 0 times an infinite value is NaN
    qkv[0, 2 * SIZE] = value
    assert_same(attend(qkv, NUM_TOKENS, 1), plain_attention(qkv))


def plain_class_token_attention(x, w, b):
    attention = ClassTokenAttention(x[np.newaxis], w, b, num_heads=1)
    return attention.weighted_values(jax.nn.softmax(attention.scores(), axis=-1))


@pytest.mark.parametrize("scores", SCORES, ids=str)
def test_class_token_attention(scores):
    # The query is a bias, and the first element of a token is its score.
    x = np.random.default_rng(0).normal(size=(NUM_TOKENS, SIZE)).astype(np.float32)
    x[:, 0] = scores
    w, b = np.zeros((SIZE, 3 * SIZE), np.float32), np.zeros(3 * SIZE, np.float32)
    b[0] = SIZE**0.5
    w[0, SIZE] = 1.0
    w[1:, 2 * SIZE + 1 :] = np.eye(SIZE - 1)

    def kernel(x, w, b):
        return attend_from_class_token(x, w, b, NUM_TOKENS, 1)

    assert_same(kernel(x, w, b), plain_class_token_attention(jnp.asarray(x), w, b), atol=1e-6)


def test_gelu():
    x = np.resize(VALUES, (2, 32))
    expected, backward = jax.vjp(lambda x: 0.5 * x * (1 + jax.lax.erf(x * 0.5**0.5)), x)
    actual, kernel_backward = jax.vjp(gelu, x)
    assert_same(actual, expected, atol=1e-6)
    assert_same(kernel_backward(np.ones_like(x))[0], backward(np.ones_like(x))[0], atol=1e-6)


@pytest.mark.parametrize("value", VALUES, ids=str)
def test_linear(value):
    random = np.random.default_rng(0)
    x, w, b = (random.normal(size=size).astype(np.float32) for size in [(3, 16), (16, 16), 16])
    for array in (x, w, b):
        array.flat[5] = value
        assert_same(linear(x, w, b), jnp.asarray(x) @ w + b, atol=1e-5)


@pytest.mark.parametrize("value", VALUES, ids=str)
def test_mlp(value):
    def plain(x, w, b, residual):
        hidden = x @ w + b
        return 0.5 * hidden * (1 + jax.lax.erf(hidden * 0.5**0.5)) @ w + b + residual

    random = np.random.default_rng(0)
    x, w, b = (random.normal(size=size).astype(np.float32) for size in [(3, 16), (16, 16), 16])
    x.flat[5] = value
    expected = plain(jnp.asarray(x), w, b, x[::-1])
    # Huge numbers cancel each other in some of the sums.
    assert_same(mlp_residual(x, w, b, w, b, x[::-1]), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("value", VALUES, ids=str)
def test_layer_norm(value):
    def plain(x, scale, offset):
        centered = x - x.mean(axis=1, keepdims=True)
        variance = (centered**2).mean(axis=1, keepdims=True)
        return centered * jax.lax.rsqrt(variance + EPSILON) * scale + offset

    x = np.random.default_rng(0).normal(size=(3, SIZE)).astype(np.float32)
    x[1, 3] = value
    scale, offset = np.full(SIZE, 2, np.float32), np.ones(SIZE, np.float32)
    expected = plain(jnp.asarray(x), scale, offset)
    assert_same(layer_norm(x, scale, offset), expected, rtol=1e-4, atol=1e-5)


def test_gradient_of_layer_norm_of_a_huge_constant_row_is_finite():
    # Its standard deviation is the square root of epsilon, and a partial SIMD vector has zeros.
    x = np.full((1, 40), 2.0**119, np.float32)
    scale, offset = np.ones(40, np.float32), np.zeros(40, np.float32)
    _, backward = jax.vjp(layer_norm, x, scale, offset)
    d_out = np.zeros((1, 40), np.float32)
    d_out[0, 3] = 1.0
    expected = (d_out - d_out.mean()) * EPSILON**-0.5
    np.testing.assert_allclose(backward(d_out)[0], expected, rtol=1e-4)
