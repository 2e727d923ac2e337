"""A ViT in Flax (linen) with the architecture of google-research/vision_transformer.

Written for the benchmark in the way of Flax's examples: Flax's own modules, optax on the pytree of
parameters, and one compiled update step that is called for each batch.
"""

import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from benchmarks.contenders import Job
from benchmarks.contenders.images import batches, random_images
from benchmarks.workload import (
    LAYER_NORM_EPS,
    LEARNING_RATE,
    MAX_NORM,
    MEAN,
    NUM_CLASSES,
    STD,
    WEIGHT_DECAY,
    Workload,
)


class Block(nn.Module):
    """A pre-norm encoder block of attention and MLP."""

    num_heads: int
    mlp_dim: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:  # [B, T, D]
        """Return new tokens of the same shape."""
        y = nn.LayerNorm(epsilon=LAYER_NORM_EPS)(x)
        x = x + nn.MultiHeadDotProductAttention(num_heads=self.num_heads)(y, y)
        y = nn.LayerNorm(epsilon=LAYER_NORM_EPS)(x)
        y = nn.gelu(nn.Dense(self.mlp_dim)(y), approximate=False)
        return x + nn.Dense(x.shape[-1])(y)


class ViT(nn.Module):
    """A ViT with a class token, learned positions, a convolutional patch embedding, linear head."""

    work: Workload

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:  # [B, height, width, 1]
        """Return logits [B, C]."""
        work, patch = self.work, (self.work.patch_size, self.work.patch_size)
        x = nn.Conv(work.hidden_size, patch, strides=patch, padding="VALID")(images)
        x = x.reshape(len(images), -1, work.hidden_size)
        token = self.param("class_token", nn.initializers.zeros, (1, 1, work.hidden_size))
        x = jnp.concatenate([jnp.tile(token, (len(images), 1, 1)), x], axis=1)
        x = x + self.param("position", nn.initializers.normal(0.02), (1, *x.shape[1:]))
        for _ in range(work.num_layers):
            x = Block(work.num_heads, work.mlp_dim)(x)
        x = nn.LayerNorm(epsilon=LAYER_NORM_EPS)(x)
        return nn.Dense(NUM_CLASSES, kernel_init=nn.initializers.zeros)(x[:, 0])


def make(work: Workload) -> Job:
    """Make a job of the Flax model."""
    model = ViT(work)
    blank = jnp.zeros((1, work.image_size, work.image_size, 1))
    weights = jax.jit(model.init)(jax.random.key(0), blank)
    run = (_train if work.task == "train" else _infer)(model, weights, work)
    return Job(run, sum(leaf.size for leaf in jax.tree.leaves(weights)))


def _normalize(images: jax.Array) -> jax.Array:
    return (images.astype(jnp.float32) / 255 - MEAN) / STD


def _train(model: ViT, weights: dict, work: Workload) -> Callable[[int], None]:
    kernels = jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key == "kernel", weights)
    optimizer = optax.chain(
        optax.clip_by_global_norm(MAX_NORM),
        optax.adamw(LEARNING_RATE, weight_decay=WEIGHT_DECAY, mask=kernels),
    )
    images, labels = map(jnp.asarray, random_images(work))
    state = weights, jax.jit(optimizer.init)(weights)

    def loss(weights: dict, images: jax.Array, labels: jax.Array) -> jax.Array:
        logits = model.apply(weights, _normalize(images))
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    def update(state: tuple, chosen: jax.Array) -> tuple:
        weights, optimizer_state = state
        gradient = jax.grad(loss)(weights, images[chosen], labels[chosen])
        updates, optimizer_state = optimizer.update(gradient, optimizer_state, weights)
        return optax.apply_updates(weights, updates), optimizer_state

    compiled = jax.jit(update, donate_argnums=0)
    order = batches(len(images), work.batch_size)

    def run(count: int) -> None:
        nonlocal state
        for chosen in itertools.islice(order, count):
            state = compiled(state, chosen)
        jax.block_until_ready(state)

    return run


def _infer(model: ViT, weights: dict, work: Workload) -> Callable[[int], None]:
    images, _ = random_images(work)
    forward = jax.jit(lambda weights, images: model.apply(weights, _normalize(images)))

    def run(count: int) -> None:
        starts = range(0, count * work.batch_size, work.batch_size)
        logits = [forward(weights, images[start : start + work.batch_size]) for start in starts]
        jax.block_until_ready(logits)

    return run
