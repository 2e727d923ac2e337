"""Batched matrix products and their gradients agree with PyTorch in float64."""

import jax
import numpy as np
import pytest
import torch

from vit_hk.model.matmul import matmul, matmul_nt

# The gradient takes another path where the attention weights are more than 4 times as wide as a
# head: here they are 2, 4, 5 and 16 times as wide.
TOKENS_AND_HEAD_SIZE = [(6, 3), (16, 4), (20, 4), (16, 1)]
BATCH_SHAPES = [(), (3,), (2, 3)]


@pytest.mark.parametrize("batch", BATCH_SHAPES, ids=str)
@pytest.mark.parametrize(("num_tokens", "head_size"), TOKENS_AND_HEAD_SIZE)
def test_matmul_equals_torch(batch, num_tokens, head_size):
    shapes = (*batch, num_tokens, num_tokens), (*batch, num_tokens, head_size)
    assert_equal_to_torch(matmul, lambda a, b: a @ b, *shapes)


@pytest.mark.parametrize("batch", BATCH_SHAPES, ids=str)
@pytest.mark.parametrize(("num_tokens", "head_size"), TOKENS_AND_HEAD_SIZE)
def test_matmul_nt_equals_torch(batch, num_tokens, head_size):
    shape = (*batch, num_tokens, head_size)
    assert_equal_to_torch(matmul_nt, lambda a, b: a @ b.mT, shape, shape)


def assert_equal_to_torch(product, torch_product, *shapes):
    """Compare the product, and its gradients for a random cotangent."""
    random = np.random.default_rng(0)
    a, b = (random.normal(size=shape).astype(np.float32) for shape in shapes)
    torch_inputs = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (a, b)]
    expected = torch_product(*torch_inputs)
    cotangent = random.normal(size=expected.shape).astype(np.float32)
    expected.backward(torch.tensor(cotangent, dtype=torch.float64))

    output, backward = jax.vjp(product, a, b)
    np.testing.assert_allclose(output, expected.detach(), rtol=1e-5, atol=1e-5)
    for gradient, torch_input in zip(backward(cotangent), torch_inputs, strict=True):
        np.testing.assert_allclose(gradient, torch_input.grad, rtol=1e-5, atol=1e-5)
