"""Against attention written out with keys and values, in float64 by torch."""

import jax
import numpy as np
import pytest
import torch

from vit_hk.model.first_token import FirstToken

IMAGES, TOKENS, WIDTH, HEADS = 3, 5, 8, 2


def plain(x, w, b, offset):
    qkv = (x @ w + b).reshape(IMAGES, TOKENS, 3, HEADS, WIDTH // HEADS)
    q, k, v = qkv.permute(2, 0, 3, 1, 4)
    scores = q[:, :, :1] @ k.transpose(-1, -2) * (WIDTH // HEADS) ** -0.5
    weights = scores.softmax(-1) + offset
    return weights, (weights @ v).transpose(1, 2).reshape(IMAGES, WIDTH)


def ours(x, w, b, offset):
    first = FirstToken(x, w, b, HEADS)
    weights = jax.nn.softmax(first.scores()) + offset
    return weights, first.mix(weights)


@pytest.mark.parametrize("offset_size", [0.0, 0.3])
def test_outputs_and_gradients_equal_those_of_attention_with_keys_and_values(offset_size):
    random = np.random.default_rng(0)
    shapes = [(IMAGES, TOKENS, WIDTH), (WIDTH, 3 * WIDTH), (3 * WIDTH,), (IMAGES, HEADS, 1, TOKENS)]
    inputs = [random.normal(size=shape).astype(np.float32) for shape in shapes]
    inputs[-1] *= offset_size
    shares = random.normal(size=shapes[-1]), random.normal(size=(IMAGES, WIDTH))

    given = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in inputs]
    expected = plain(*given)
    sum((y * torch.tensor(s)).sum() for y, s in zip(expected, shares, strict=True)).backward()

    found = ours(*inputs)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other.detach(), rtol=1e-4, atol=1e-5)

    def total(inputs):
        return sum((y * s).sum() for y, s in zip(ours(*inputs), shares, strict=True))

    for one, other in zip(jax.grad(total)(inputs), given, strict=True):
        np.testing.assert_allclose(one, other.grad, rtol=1e-3, atol=1e-4)
