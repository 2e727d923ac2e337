"""The whole Vision Transformer in plain jax.numpy: a first reading, and a reference for tests.

It computes the same as `vit.py` from the same parameters, and nothing is optimized for speed:

    images -> patches -> tokens -> L x (attention, MLP) -> LayerNorm -> head

There is no dropout, which acts in training only. The shapes use the glossary of
`vit_hk/model/__init__.py`; the equations are those of arXiv 2010.11929.
"""

from typing import Any

import jax
import jax.numpy as jnp

from vit_hk.model.positions import sincos2d_positions
from vit_hk.model.stem_layers import stem_layers
from vit_hk.model.vit import ViTOutput
from vit_hk.params import Gelu, ModelSettings

Parameters = dict[str, dict[str, Any]]  # module name -> parameter name -> array


def vit(parameters: Parameters, images: jax.Array, settings: ModelSettings) -> ViTOutput:
    """Return logits, features and attention of float images [B, height, width, channels]."""
    s = settings
    x = embed(parameters, images, s)  # [B, T, D]
    attention = []
    for layer in range(s.num_layers):
        block = f"vit/block_{layer}"
        normalized = layer_norm(parameters[f"{block}/norm_1"], x, s.norm_eps)
        branch, weights = self_attention(parameters, f"{block}/attention", normalized, s)
        x = x + branch  # equation 2
        normalized = layer_norm(parameters[f"{block}/norm_2"], x, s.norm_eps)
        x = x + mlp(parameters, f"{block}/mlp", normalized, s)  # equation 3
        attention.append(weights)
    x = layer_norm(parameters["vit/norm"], x, s.norm_eps)
    features = x[:, 0] if s.pool == "cls" else x[:, s.registers :].mean(axis=1)  # equation 4
    logits = linear(parameters["vit/head"], features)  # [B, C]
    return ViTOutput(logits, features, jnp.stack(attention))


def embed(parameters: Parameters, images: jax.Array, settings: ModelSettings) -> jax.Array:
    """Return the tokens [B, T, D]: class token, registers, patches, with positions (equation 1)."""
    s, batch = settings, len(images)
    grid = s.grid(images.shape[1:])
    images = convolutional_stem(parameters, images, s)
    x = linear(parameters["vit/patches/linear"], cut_patches(images, grid))  # [B, N, D]

    def repeat(name: str) -> jax.Array:  # learned tokens, the same for each image: [B, count, D]
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
    height, width = images.shape[1] // rows, images.shape[2] // columns  # of a patch
    patches = [
        images[:, row * height : (row + 1) * height, column * width : (column + 1) * width]
        for row in range(rows)
        for column in range(columns)
    ]
    return jnp.stack([patch.reshape(len(images), -1) for patch in patches], axis=1)


def convolutional_stem(
    parameters: Parameters, images: jax.Array, settings: ModelSettings
) -> jax.Array:
    """Apply the convolutions of a stem, and what follows each; the stem "linear" has none."""
    layers = stem_layers(settings.stem, settings.patch_size, settings.hidden_size)
    for index, layer in enumerate(layers):
        conv = parameters[f"vit/patches/conv_{index}"]
        kernel = conv["w"].reshape(3, 3, images.shape[-1], layer.channels)
        strides, padding, axes = [layer.stride] * 2, [(1, 1)] * 2, ("NHWC", "HWIO", "NHWC")
        x = jax.lax.conv_general_dilated(images, kernel, strides, padding, None, None, axes)
        x = x + conv["b"]
        if layer.pool_stride > 1:
            window, strides = (1, 3, 3, 1), [1, layer.pool_stride, layer.pool_stride, 1]
            padding = [(0, 0), *padding, (0, 0)]
            x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, strides, padding)
        if layer.has_norm:
            x = layer_norm(parameters[f"vit/patches/norm_{index}"], x, settings.norm_eps)
        x = gelu(x, settings.gelu)
        images = images + x if layer.is_residual else x
    return images


def self_attention(
    parameters: Parameters, name: str, x: jax.Array, settings: ModelSettings
) -> tuple[jax.Array, jax.Array]:
    """Return new tokens [B, T, D] and attention weights [B, H, query T, key T] (appendix A)."""
    batch, num_tokens, width = x.shape
    num_heads, epsilon = settings.num_heads, settings.norm_eps
    qkv = linear(parameters[f"{name}/qkv"], x)  # [B, T, 3D]
    qkv = qkv.reshape(batch, num_tokens, 3, num_heads, width // num_heads)
    q, k, v = qkv.transpose(2, 0, 3, 1, 4)  # each [B, H, T, K]
    if f"{name}/q_norm" in parameters:
        q = layer_norm(parameters[f"{name}/q_norm"], q, epsilon)
        k = layer_norm(parameters[f"{name}/k_norm"], k, epsilon)
    scores = q @ k.swapaxes(-1, -2) / jnp.sqrt(q.shape[-1])
    weights = jax.nn.softmax(scores, axis=-1)
    heads = (weights @ v).transpose(0, 2, 1, 3).reshape(batch, num_tokens, width)
    return linear(parameters[f"{name}/out"], heads), weights


def mlp(parameters: Parameters, name: str, x: jax.Array, settings: ModelSettings) -> jax.Array:
    """Apply linear, GELU, linear to each token [B, T, D]."""
    hidden = gelu(linear(parameters[f"{name}/in"], x), settings.gelu)  # [B, T, M]
    return linear(parameters[f"{name}/out"], hidden)


def linear(parameters: dict[str, Any], x: jax.Array) -> jax.Array:
    """Return x w + b [..., outputs] of x [..., inputs]."""
    return x @ parameters["w"] + parameters["b"]


def layer_norm(parameters: dict[str, Any], x: jax.Array, epsilon: float) -> jax.Array:
    """Normalize x over its last axis (arXiv 1607.06450)."""
    centered = x - x.mean(axis=-1, keepdims=True)
    variance = (centered**2).mean(axis=-1, keepdims=True)
    return centered / jnp.sqrt(variance + epsilon) * parameters["scale"] + parameters["offset"]


def gelu(x: jax.Array, kind: Gelu) -> jax.Array:
    """Return GELU, x times the normal distribution function of x (arXiv 1606.08415)."""
    return jax.nn.gelu(x, approximate=kind == "tanh")
