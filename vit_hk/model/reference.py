"""The whole Vision Transformer in plain jax.numpy, to be read first and to test against.

It computes what `vit.py` computes, from the same parameters, without a thought for speed:

    parameters -> patches -> tokens -> L x (attention, feed-forward) -> LayerNorm -> head

There is no dropout, which acts in training only. The shapes use the glossary of
`vit_hk/model/__init__.py`; equations are those of arXiv 2010.11929.
"""

from typing import Any

import jax
import jax.numpy as jnp

from vit_hk.model.patches import sincos2d_positions
from vit_hk.model.stem import stem_layers
from vit_hk.model.vit import ViTOutput
from vit_hk.params import ModelSettings

Parameters = dict[str, dict[str, Any]]  # module name -> parameter name -> array


def vit(parameters: Parameters, images: jax.Array, settings: ModelSettings) -> ViTOutput:
    """Classify float images [B, height, width, channels]."""
    s = settings
    x = embed(parameters, images, s)  # [B, T, D]
    attention = []
    for layer in range(s.num_layers):
        block = f"vit/block_{layer}"
        normalized = layer_norm(parameters[f"{block}/norm_1"], x)
        mixed, weights = self_attention(parameters, f"{block}/attention", normalized, s.num_heads)
        x = x + mixed  # equation 2
        normalized = layer_norm(parameters[f"{block}/norm_2"], x)
        x = x + feed_forward(parameters, f"{block}/mlp", normalized)  # equation 3
        attention.append(weights)
    x = layer_norm(parameters["vit/norm"], x)
    features = x[:, 0] if s.pool == "cls" else x[:, s.registers :].mean(axis=1)  # equation 4
    logits = linear(parameters["vit/head"], features)  # [B, C]
    return ViTOutput(logits, features, jnp.stack(attention))


def embed(parameters: Parameters, images: jax.Array, settings: ModelSettings) -> jax.Array:
    """Make tokens [B, T, D]: class token, registers, patches, with positions (equation 1)."""
    s, batch = settings, len(images)
    grid = s.grid(images.shape[1:])
    if s.stem == "conv":
        images = convolutional_stem(parameters, images, s)
    x = linear(parameters["vit/patches/linear"], cut_patches(images, grid))  # [B, N, D]

    def repeat(name: str) -> jax.Array:  # learned tokens, the same for each image
        return jnp.tile(parameters["vit"][name], (batch, 1, 1))

    if s.position == "sincos2d":
        x = x + sincos2d_positions(*grid, s.hidden_size)
    if s.pool == "cls":
        x = jnp.concatenate([repeat("class_token"), x], axis=1)
    if s.position == "learned":
        x = x + parameters["vit"]["position"]
    if s.registers:
        patches_start = 1 if s.pool == "cls" else 0
        before, patches = x[:, :patches_start], x[:, patches_start:]
        x = jnp.concatenate([before, repeat("registers"), patches], axis=1)
    return x


def cut_patches(images: jax.Array, grid: tuple[int, int]) -> jax.Array:
    """Cut images into patches [B, N, P * P * channels], row by row."""
    rows, columns = grid
    tall, wide = images.shape[1] // rows, images.shape[2] // columns
    patches = [
        images[:, row * tall : (row + 1) * tall, column * wide : (column + 1) * wide]
        for row in range(rows)
        for column in range(columns)
    ]
    return jnp.stack([patch.reshape(len(images), -1) for patch in patches], axis=1)


def convolutional_stem(
    parameters: Parameters, images: jax.Array, settings: ModelSettings
) -> jax.Array:
    """Apply 3 x 3 convolutions with zero padding, each followed by GELU."""
    for index, layer in enumerate(stem_layers(settings.patch_size, settings.hidden_size)):
        conv = parameters[f"vit/patches/conv_{index}"]
        kernel = conv["w"].reshape(3, 3, images.shape[-1], layer.channels)
        images = jax.lax.conv_general_dilated(
            images, kernel, (layer.stride, layer.stride), [(1, 1), (1, 1)],
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )  # fmt: skip
        images = gelu(images + conv["b"])
    return images


def self_attention(
    parameters: Parameters, name: str, x: jax.Array, num_heads: int
) -> tuple[jax.Array, jax.Array]:
    """Return new tokens [B, T, D] and attention weights [B, H, query T, key T] (appendix A)."""
    batch, num_tokens, width = x.shape
    qkv = linear(parameters[f"{name}/qkv"], x)  # [B, T, 3D]
    qkv = qkv.reshape(batch, num_tokens, 3, num_heads, width // num_heads)
    q, k, v = qkv.transpose(2, 0, 3, 1, 4)  # each [B, H, T, K]
    if f"{name}/q_norm" in parameters:
        q = layer_norm(parameters[f"{name}/q_norm"], q)
        k = layer_norm(parameters[f"{name}/k_norm"], k)
    scores = q @ k.swapaxes(-1, -2) / jnp.sqrt(q.shape[-1])
    weights = jax.nn.softmax(scores, axis=-1)
    mixed = (weights @ v).transpose(0, 2, 1, 3).reshape(batch, num_tokens, width)
    return linear(parameters[f"{name}/out"], mixed), weights


def feed_forward(parameters: Parameters, name: str, x: jax.Array) -> jax.Array:
    """Apply linear, GELU, linear to each token [B, T, D]."""
    return linear(parameters[f"{name}/out"], gelu(linear(parameters[f"{name}/in"], x)))


def linear(parameters: dict[str, Any], x: jax.Array) -> jax.Array:
    """Map x [..., inputs] to x w + b [..., outputs]."""
    return x @ parameters["w"] + parameters["b"]


def layer_norm(parameters: dict[str, Any], x: jax.Array) -> jax.Array:
    """Normalize x over its last axis (arXiv 1607.06450)."""
    centered = x - x.mean(axis=-1, keepdims=True)
    variance = (centered**2).mean(axis=-1, keepdims=True)
    return centered / jnp.sqrt(variance + 1e-6) * parameters["scale"] + parameters["offset"]


def gelu(x: jax.Array) -> jax.Array:
    """Apply GELU, x times the normal distribution function of x (arXiv 1606.08415)."""
    return jax.nn.gelu(x, approximate=False)
