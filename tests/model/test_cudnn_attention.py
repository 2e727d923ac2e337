"""Attention in cuDNN's kernels, computed by XLA here, and where it is used."""

import functools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from vit_hk.model import attention, cudnn_attention
from vit_hk.model.cudnn_attention import has_cudnn_attention
from vit_hk.model.vit import make_model

by_xla = functools.partial(cudnn_attention.cudnn_attention, implementation="xla")
BATCH, NUM_HEADS, HEAD_SIZE = 2, 3, 8


def by_torch(qkv):
    parts = qkv.reshape(BATCH, -1, 3, NUM_HEADS, HEAD_SIZE).permute(2, 0, 3, 1, 4)
    heads = torch.nn.functional.scaled_dot_product_attention(*parts)
    return heads.transpose(1, 2).reshape(len(qkv), -1)


@pytest.mark.parametrize("num_tokens", [4, 5])  # cuDNN needs an even number
def test_output_and_gradient_equal_torch(num_tokens):
    random = np.random.default_rng(0)
    width = NUM_HEADS * HEAD_SIZE
    qkv = random.normal(size=(BATCH * num_tokens, 3 * width)).astype(np.float32)
    d_out = random.normal(size=(BATCH * num_tokens, width)).astype(np.float32)
    out, pull_back = jax.vjp(lambda x: by_xla(x, num_tokens, NUM_HEADS), qkv)
    expected_qkv = torch.tensor(qkv, dtype=torch.float64, requires_grad=True)
    expected = by_torch(expected_qkv)
    expected.backward(torch.tensor(d_out, dtype=torch.float64))
    np.testing.assert_allclose(out, expected.detach(), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(pull_back(d_out)[0], expected_qkv.grad, rtol=1e-5, atol=1e-5)


def test_a_model_with_it_has_the_same_logits_and_weights(settings, random_params, monkeypatch):
    model = make_model(settings(hidden_size=16), 5, "bfloat16")
    images = np.random.default_rng(0).normal(size=(3, 6, 4, 1)).astype(np.float32)
    params = random_params(model, images, std=0.2)
    expected = jax.jit(model.apply)(params, images)
    monkeypatch.setattr(attention, "has_cudnn_attention", lambda _, size: size == 8)
    used = []
    monkeypatch.setattr(attention, "cudnn_attention", lambda *a: used.append(a) or by_xla(*a))
    output = jax.jit(lambda *a: model.apply(*a))(params, images)
    assert len(used) == 1  # the last block has the class token's attention
    # Both round to bfloat16, at other places.
    for array, close in zip(output, expected, strict=True):
        assert np.abs(array - close).max() > 0
        np.testing.assert_allclose(array, close, atol=0.02 * np.abs(close).max())


@pytest.mark.parametrize(
    ("capability", "platform", "dtype", "head_size", "expected"),
    [
        ("9.0", "PJRT C API\ncuda 13000", jnp.bfloat16, 64, True),
        ("8.0", "cuda 12080", jnp.bfloat16, 16, True),
        ("10.0", "cuda 13000", jnp.bfloat16, 64, True),
        ("7.5", "cuda 12080", jnp.bfloat16, 64, False),  # Turing
        ("9.0", "rocm 60300", jnp.bfloat16, 64, False),
        ("9.0", "cuda 13000", jnp.float32, 64, False),
        ("9.0", "cuda 13000", jnp.bfloat16, 12, False),
        ("9.0", "cuda 13000", jnp.bfloat16, 136, False),
    ],
)
def test_it_needs_an_nvidia_gpu_since_ampere_and_half_precision(
    monkeypatch, capability, platform, dtype, head_size, expected
):
    assert not has_cudnn_attention(dtype, head_size)  # on this CPU
    device = SimpleNamespace(
        compute_capability=capability, client=SimpleNamespace(platform_version=platform)
    )
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(jax, "local_devices", lambda: [device])
    assert has_cudnn_attention(dtype, head_size) is expected
