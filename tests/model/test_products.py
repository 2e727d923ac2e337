"""Products of stacked matrices and their gradients, against torch's in float64."""

import jax
import numpy as np
import pytest
import torch

from vit_hk.model.products import product, product_with_transpose

# Attention weights 5 and 16 times as wide as a head take another way back than these of 2 and 4.
TOKENS_AND_HEAD = [(6, 3), (16, 4), (20, 4), (16, 1)]
STACKS = [(), (3,), (2, 3)]


def torch_product(a, b):
    return a @ b


def torch_product_with_transpose(a, b):
    return a @ b.mT


@pytest.mark.parametrize("stack", STACKS, ids=str)
@pytest.mark.parametrize(("tokens", "head"), TOKENS_AND_HEAD)
def test_mixture_of_values_equals_torch(stack, tokens, head):
    assert_same(product, torch_product, (*stack, tokens, tokens), (*stack, tokens, head))


@pytest.mark.parametrize("stack", STACKS, ids=str)
@pytest.mark.parametrize(("tokens", "head"), TOKENS_AND_HEAD)
def test_scores_equal_torch(stack, tokens, head):
    shape = (*stack, tokens, head)
    assert_same(product_with_transpose, torch_product_with_transpose, shape, shape)


def assert_same(ours, reference, *shapes):
    """The product and both gradients of a weighted sum of its numbers."""
    random = np.random.default_rng(0)
    a, b = (random.normal(size=shape).astype(np.float32) for shape in shapes)
    given = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (a, b)]
    expected = reference(*given)
    weights = random.normal(size=expected.shape).astype(np.float32)
    (expected * torch.tensor(weights)).sum().backward()

    np.testing.assert_allclose(ours(a, b), expected.detach(), rtol=1e-5, atol=1e-5)
    found = jax.grad(lambda a, b: (ours(a, b) * weights).sum(), (0, 1))(a, b)
    for one, other in zip(found, given, strict=True):
        np.testing.assert_allclose(one, other.grad, rtol=1e-5, atol=1e-5)
