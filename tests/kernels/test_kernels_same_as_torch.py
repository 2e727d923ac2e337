"""Outputs and gradients of the kernels, next to torch in double precision."""

import jax
import numpy as np
import pytest
import torch

from vit_hk.kernels.attention import attend
from vit_hk.kernels.gelu import gelu
from vit_hk.kernels.layer_norm import EPSILON, layer_norm
from vit_hk.kernels.linear import linear

pytestmark = pytest.mark.usefixtures("processor")

ROUNDING = 2.0**-23


@pytest.fixture
def random():
    return np.random.default_rng(0)


def compare(ours, theirs, *arguments, tolerance=8 * ROUNDING):
    """Errors count next to the largest number of an array."""
    found, backward = jax.vjp(ours, *map(np.float32, arguments))
    given = [
        torch.tensor(np.float32(x), dtype=torch.float64, requires_grad=True) for x in arguments
    ]
    expected = theirs(*given)
    slopes = np.random.default_rng(1).normal(size=found.shape).astype(np.float32)
    expected.backward(torch.tensor(slopes, dtype=torch.float64))
    pairs = [
        (found, expected.detach()),
        *zip(backward(slopes), (x.grad for x in given), strict=True),
    ]
    for one, other in pairs:
        atol = tolerance * abs(other).max().item()
        np.testing.assert_allclose(one, other, rtol=0, atol=atol)


# Of rows, some fill no tile, some one, and some leave two over. 10 columns in cannot
# have their gradient from a kernel.
@pytest.mark.parametrize("rows", [1, 6, 20])
@pytest.mark.parametrize(("size", "width"), [(10, 16), (48, 144)])
def test_linear_layer(random, rows, size, width):
    x, w, b = (
        random.normal(size=(rows, size)),
        random.normal(size=(size, width)),
        random.normal(size=width),
    )
    compare(linear, lambda x, w, b: x @ w + b, x, w, b)


@pytest.mark.parametrize("width", [16, 64, 112])
@pytest.mark.parametrize("center", [0.0, 100.0])
def test_layer_norm(random, width, center):
    x = random.normal(center, 2.0, size=(7, width))
    scale, offset = random.normal(size=(2, width))

    def theirs(x, scale, offset):
        return torch.nn.functional.layer_norm(x, [width], scale, offset, EPSILON)

    compare(layer_norm, theirs, x, scale, offset, tolerance=(8 + center) * ROUNDING)


def test_layer_norm_of_equal_numbers_is_the_offset():
    x, offset = np.full((2, 32), 3, np.float32), np.arange(32, dtype=np.float32)
    np.testing.assert_array_equal(layer_norm(x, 5 * np.ones_like(offset), offset), [offset, offset])


def test_gelu():
    compare(gelu, torch.nn.functional.gelu, np.linspace(-12, 12, 16 * 500).reshape(500, 16))


def test_gelu_of_what_is_far_out_or_tiny():
    x = np.float32(
        [0, -0.0, 1e-30, -1e-30, 11, -11, 1e3, -1e3, 1e6, -1e6, 3e38, -3e38, 1, -1, 5, -5]
    )
    found, slope = jax.vjp(gelu, x[np.newaxis])
    expected = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    torch.nn.functional.gelu(expected).sum().backward()
    np.testing.assert_allclose(found[0], torch.nn.functional.gelu(expected).detach(), 1e-6, 1e-6)
    np.testing.assert_allclose(slope(np.ones_like(x[np.newaxis]))[0][0], expected.grad, 1e-6, 1e-6)


# Tokens are fewer than a register, as many, one more, and of several loops over queries.
@pytest.mark.parametrize(
    ("tokens", "heads", "size"), [(1, 1, 16), (3, 2, 48), (16, 1, 32), (17, 3, 16), (65, 2, 32)]
)
def test_attention(random, tokens, heads, size):
    def theirs(qkv):
        q, k, v = qkv.reshape(2, tokens, 3, heads, size).permute(2, 0, 3, 1, 4)
        mixed = torch.nn.functional.scaled_dot_product_attention(q, k, v)
        return mixed.transpose(1, 2).reshape(2 * tokens, heads * size)

    qkv = 1.5 * random.normal(size=(2 * tokens, 3 * heads * size))
    compare(lambda qkv: attend(qkv, tokens, heads), theirs, qkv, tolerance=32 * ROUNDING)


def test_attention_to_a_single_key_with_a_far_higher_score():
    """The powers of 2 neither overflow nor become none."""
    tokens, size = 5, 16
    qkv = np.zeros((tokens, 3 * size), np.float32)
    qkv[:, 0] = 1e4
    qkv[2, size] = 1e4
    qkv[:, 2 * size :] = np.arange(tokens)[:, np.newaxis]
    np.testing.assert_array_equal(attend(qkv, tokens, 1), np.full((tokens, size), 2.0))
