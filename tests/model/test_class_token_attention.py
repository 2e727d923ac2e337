"""Attention of the class token agrees with attention that has keys and values, in float64."""

import jax
import numpy as np
import pytest
import torch

from vit_hk.model.class_token_attention import ClassTokenAttention

BATCH, NUM_TOKENS, WIDTH, NUM_HEADS = 3, 5, 8, 2
HEAD_SIZE = WIDTH // NUM_HEADS


def torch_attention(x, w, b, offset):
    qkv = (x @ w + b).reshape(BATCH, NUM_TOKENS, 3, NUM_HEADS, HEAD_SIZE)
    q, k, v = qkv.permute(2, 0, 3, 1, 4)
    scores = q[:, :, :1] @ k.transpose(-1, -2) * HEAD_SIZE**-0.5
    weights = scores.softmax(-1) + offset
    return weights, (weights @ v).transpose(1, 2).reshape(BATCH, WIDTH)


def class_token_attention(x, w, b, offset):
    attention = ClassTokenAttention(x, w, b, NUM_HEADS)
    weights = jax.nn.softmax(attention.scores()) + offset
    return weights, attention.weighted_values(weights)


@pytest.mark.parametrize("offset_scale", [0.0, 0.3])
def test_outputs_and_gradients_equal_torch(offset_scale):
    random = np.random.default_rng(0)
    weights_shape, output_shape = (BATCH, NUM_HEADS, 1, NUM_TOKENS), (BATCH, WIDTH)
    shapes = [(BATCH, NUM_TOKENS, WIDTH), (WIDTH, 3 * WIDTH), (3 * WIDTH,), weights_shape]
    inputs = [random.normal(size=shape).astype(np.float32) for shape in shapes]
    inputs[-1] *= offset_scale
    cotangents = [
        random.normal(size=shape).astype(np.float32) for shape in (weights_shape, output_shape)
    ]

    torch_inputs = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in inputs]
    expected = torch_attention(*torch_inputs)
    torch.autograd.backward(expected, [torch.tensor(x, dtype=torch.float64) for x in cotangents])

    outputs, backward = jax.vjp(class_token_attention, *inputs)
    for output, expected_output in zip(outputs, expected, strict=True):
        np.testing.assert_allclose(output, expected_output.detach(), rtol=1e-4, atol=1e-5)
    for gradient, torch_input in zip(backward(tuple(cotangents)), torch_inputs, strict=True):
        np.testing.assert_allclose(gradient, torch_input.grad, rtol=1e-3, atol=1e-4)
