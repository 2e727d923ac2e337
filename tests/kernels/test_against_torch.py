"""Outputs and gradients of the kernels agree with PyTorch in double precision."""

import jax
import numpy as np
import pytest
import torch

from vit_hk.kernels.attention import attend
from vit_hk.kernels.class_token_attention import attend_from_class_token
from vit_hk.kernels.gelu import gelu
from vit_hk.kernels.layer_norm import EPSILON, layer_norm, layer_norm_and_input
from vit_hk.kernels.linear import linear, linear_residual
from vit_hk.kernels.mlp import mlp_residual

pytestmark = pytest.mark.usefixtures("simd_target")

ULP = 2.0**-23  # the distance from 1 to the next float32


@pytest.fixture
def random():
    return np.random.default_rng(0)


def assert_same(kernel, reference, *inputs, tolerance=8 * ULP):
    """Compare outputs and gradients; errors are relative to the largest element of an array."""
    actual, backward = jax.vjp(kernel, *map(np.float32, inputs))
    torch_inputs = [
        torch.tensor(np.float32(x), dtype=torch.float64, requires_grad=True) for x in inputs
    ]
    expected = reference(*torch_inputs)
    d_out = np.random.default_rng(1).normal(size=actual.shape).astype(np.float32)
    expected.backward(torch.tensor(d_out, dtype=torch.float64))
    pairs = [
        (actual, expected.detach()),
        *zip(backward(d_out), (x.grad for x in torch_inputs), strict=True),
    ]
    for actual_array, expected_array in pairs:
        atol = tolerance * abs(expected_array).max().item()
        np.testing.assert_allclose(actual_array, expected_array, rtol=0, atol=atol)


# The rows are fewer than a tile, one tile, and three tiles and two rows. The last SIMD vector of a
# row is whole, partial, or the only one. The last weights are large enough for panels.
@pytest.mark.parametrize("rows", [1, 6, 20])
@pytest.mark.parametrize(("in_size", "out_size"), [(48, 144), (37, 10), (5, 67), (300, 901)])
def test_linear(random, rows, in_size, out_size):
    x, w, b = (
        random.normal(size=(rows, in_size)),
        random.normal(size=(in_size, out_size)),
        random.normal(size=out_size),
    )
    tolerance = (16 if out_size > 900 else 8) * ULP  # rounding errors grow with the summands
    assert_same(linear, lambda x, w, b: x @ w + b, x, w, b, tolerance=tolerance)
    residual = random.normal(size=(rows, out_size))
    assert_same(
        linear_residual, lambda x, w, b, r: x @ w + b + r, x, w, b, residual, tolerance=tolerance
    )


# The panel of the narrower matrix may be the wider one: with AVX-512, 64 and 48 columns of 64 and
# 80. The last weights are large enough for panels.
@pytest.mark.parametrize(("width", "mlp_dim"), [(64, 80), (80, 64), (37, 5), (300, 901)])
def test_mlp(random, width, mlp_dim):
    x, residual = random.normal(size=(2, 20, width))
    w_in, w_out = (
        random.normal(size=shape) * shape[0] ** -0.5
        for shape in [(width, mlp_dim), (mlp_dim, width)]
    )
    b_in, b_out = random.normal(size=mlp_dim), random.normal(size=width)

    def reference(x, w_in, b_in, w_out, b_out, residual):
        return torch.nn.functional.gelu(x @ w_in + b_in) @ w_out + b_out + residual

    assert_same(mlp_residual, reference, x, w_in, b_in, w_out, b_out, residual, tolerance=32 * ULP)


@pytest.mark.parametrize("width", [1, 7, 40, 64, 100])
@pytest.mark.parametrize("mean", [0.0, 100.0])
def test_layer_norm(random, width, mean):
    x = random.normal(mean, 2.0, size=(7, width))
    scale, offset = random.normal(size=(2, width))

    def reference(x, scale, offset):
        return torch.nn.functional.layer_norm(x, [width], scale, offset, EPSILON)

    assert_same(layer_norm, reference, x, scale, offset, tolerance=(8 + mean) * ULP)

    def kernel_of_both(x, scale, offset):
        normalized, same_x = layer_norm_and_input(x, scale, offset)
        return 3 * normalized - same_x

    def reference_of_both(x, scale, offset):
        return 3 * reference(x, scale, offset) - x

    assert_same(kernel_of_both, reference_of_both, x, scale, offset, tolerance=(8 + mean) * ULP)


def test_layer_norm_of_a_constant_row_is_the_offset():
    x, offset = np.full((2, 32), 3, np.float32), np.arange(32, dtype=np.float32)
    np.testing.assert_array_equal(layer_norm(x, 5 * np.ones_like(offset), offset), [offset, offset])


@pytest.mark.parametrize("width", [1, 16, 25])
def test_gelu(width):
    x = np.linspace(-12, 12, 400 * width).reshape(400, width)
    assert_same(gelu, torch.nn.functional.gelu, x)


def test_gelu_of_huge_and_tiny_inputs():
    x = np.float32(
        [0, -0.0, 1e-30, -1e-30, 11, -11, 1e3, -1e3, 1e6, -1e6, 3e38, -3e38, 1, -1, 5, -5]
    )
    actual, backward = jax.vjp(gelu, x[np.newaxis])
    (d_x,) = backward(np.ones_like(actual))
    torch_x = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    expected = torch.nn.functional.gelu(torch_x)
    expected.sum().backward()
    np.testing.assert_allclose(actual[0], expected.detach(), 1e-6, 1e-6)
    np.testing.assert_allclose(d_x[0], torch_x.grad, 1e-6, 1e-6)


# The tokens are fewer than the lanes of a SIMD vector, as many, one more, and several tiles. The
# size of a head is less than a SIMD vector, whole vectors, and whole vectors and a partial one.
@pytest.mark.parametrize(
    ("num_tokens", "num_heads", "head_size"),
    [(1, 1, 16), (3, 2, 25), (16, 1, 32), (17, 3, 15), (17, 2, 1), (65, 2, 8)],
)
def test_attention(random, num_tokens, num_heads, head_size):
    def kernel(qkv):
        return attend(qkv, num_tokens, num_heads)

    def reference(qkv):
        q, k, v = qkv.reshape(2, num_tokens, 3, num_heads, head_size).permute(2, 0, 3, 1, 4)
        out = torch.nn.functional.scaled_dot_product_attention(q, k, v)
        return out.transpose(1, 2).reshape(2 * num_tokens, num_heads * head_size)

    qkv = 1.5 * random.normal(size=(2 * num_tokens, 3 * num_heads * head_size))
    assert_same(kernel, reference, qkv, tolerance=32 * ULP)


# The heads are fewer than the lanes of a SIMD vector, as many with AVX-512, and one more.
@pytest.mark.parametrize(
    ("num_tokens", "num_heads", "head_size"),
    [(1, 1, 16), (3, 2, 25), (17, 4, 16), (17, 16, 1), (50, 17, 3), (5, 2, 40)],
)
def test_class_token_attention(random, num_tokens, num_heads, head_size):
    images, width = 7, num_heads * head_size

    def kernel(x, w, b):
        return attend_from_class_token(x, w, b, num_tokens, num_heads)

    def reference(x, w, b):
        qkv = (x @ w + b).reshape(images, num_tokens, 3, num_heads, head_size)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        out = torch.nn.functional.scaled_dot_product_attention(q[:, :, :1], k, v)
        return out.reshape(images, width)

    x = random.normal(size=(images * num_tokens, width))
    w, b = 1.5 * random.normal(size=(width, 3 * width)) * width**-0.5, random.normal(size=3 * width)
    assert_same(kernel, reference, x, w, b, tolerance=32 * ULP)


def test_attention_with_a_dominant_key_neither_overflows_nor_gives_nan():
    num_tokens, head_size = 5, 16
    qkv = np.zeros((num_tokens, 3 * head_size), np.float32)
    qkv[:, 0] = 1e4
    qkv[2, head_size] = 1e4
    qkv[:, 2 * head_size :] = np.arange(num_tokens)[:, np.newaxis]
    expected = np.full((num_tokens, head_size), 2.0)
    np.testing.assert_array_equal(attend(qkv, num_tokens, 1), expected)
