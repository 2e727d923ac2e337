"""What is no number must come out as none, or training would go on with wrong weights."""

import jax
import numpy as np
import pytest

from vit_hk.kernels.attention import attend
from vit_hk.kernels.gelu import gelu
from vit_hk.kernels.layer_norm import layer_norm
from vit_hk.kernels.linear import linear

pytestmark = pytest.mark.usefixtures("processor")

TOKENS, SIZE = 5, 16
BAD = [np.nan, np.inf, -np.inf]


@pytest.fixture
def qkv():
    return np.random.default_rng(0).normal(size=(2 * TOKENS, 3 * SIZE)).astype(np.float32)


@pytest.mark.parametrize("bad", BAD, ids=str)
@pytest.mark.parametrize("part", range(3), ids=["q", "k", "v"])
def test_attention(qkv, bad, part):
    good = np.asarray(attend(qkv, TOKENS, 1))
    qkv[1, SIZE * part + 3] = bad
    found = np.asarray(attend(qkv, TOKENS, 1))
    of_image, of_other = found[:TOKENS], found[TOKENS:]
    np.testing.assert_array_equal(of_other, good[TOKENS:])
    concerned = of_image[1] if part == 0 else of_image  # a query is that of one token
    assert not np.isfinite(concerned).all()


@pytest.mark.parametrize("part", range(3), ids=["q", "k", "v"])
def test_gradient_of_attention(qkv, part):
    qkv[1, SIZE * part + 3] = np.nan
    assert np.isnan(jax.grad(lambda qkv: attend(qkv, TOKENS, 1)[1, 0])(qkv)).any()


@pytest.mark.parametrize("bad", BAD, ids=str)
def test_rows(bad):
    x, w, b = (
        np.ones((3, SIZE), np.float32),
        np.ones((SIZE, SIZE), np.float32),
        np.ones(SIZE, np.float32),
    )
    x[1, 3] = bad
    for found in (linear(x, w, b), layer_norm(x, b, b)):
        assert np.isfinite(found).all(axis=1).tolist() == [True, False, True]
        assert not np.isfinite(found[1]).any()


def test_gelu():
    x = np.ones((1, SIZE), np.float32)
    x[0, 3] = np.nan
    found, backward = jax.vjp(gelu, x)
    (slope,) = backward(np.ones_like(x))
    assert np.isnan(found).tolist() == np.isnan(slope).tolist() == np.isnan(x).tolist()
