"""Non-finite inputs give non-finite outputs: otherwise training would go on with wrong weights."""

import jax
import numpy as np
import pytest

from vit_hk.kernels.attention import attend
from vit_hk.kernels.gelu import gelu
from vit_hk.kernels.layer_norm import layer_norm
from vit_hk.kernels.linear import linear

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


@pytest.mark.parametrize("value", NON_FINITE, ids=str)
def test_linear_and_layer_norm(value):
    x, w, b = (
        np.ones((3, SIZE), np.float32),
        np.ones((SIZE, SIZE), np.float32),
        np.ones(SIZE, np.float32),
    )
    x[1, 3] = value
    for actual in (linear(x, w, b), layer_norm(x, b, b)):
        assert np.isfinite(actual).all(axis=1).tolist() == [True, False, True]
        assert not np.isfinite(actual[1]).any()


def test_gelu():
    x = np.ones((1, SIZE), np.float32)
    x[0, 3] = np.nan
    actual, backward = jax.vjp(gelu, x)
    (d_x,) = backward(np.ones_like(x))
    assert np.isnan(actual).tolist() == np.isnan(d_x).tolist() == np.isnan(x).tolist()
