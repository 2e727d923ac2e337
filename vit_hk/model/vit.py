"""The Vision Transformer (arXiv 2010.11929): images in, logits and attention out."""

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp

from vit_hk.model.blocks import run_blocks
from vit_hk.model.encoder import dropout
from vit_hk.model.linear import Linear
from vit_hk.model.normalization import layer_norm
from vit_hk.model.patches import PatchEmbedding, sincos2d_positions
from vit_hk.model.precision import computing_in
from vit_hk.model.stem import KERNEL, stem_layers
from vit_hk.params import ModelSettings, Precision

ImageShape = tuple[int, int, int]  # height, width, channels


class ViTOutput(NamedTuple):
    """What one forward pass gives; XLA drops what nobody reads."""

    logits: jax.Array  # [B, C]
    features: jax.Array  # [B, D], the pooled token after the last LayerNorm
    attention: jax.Array  # [L, B, H, query T, key T]; each row sums to 1


@dataclasses.dataclass
class ViT(hk.Module):
    """Patch embedding, L pre-norm blocks, LayerNorm, linear head (equations 1 to 4).

    The tokens stand in the order class token (only with pool "cls"), registers, patches.
    """

    settings: ModelSettings
    num_classes: int
    scan_layers: bool = False
    remat: bool = False
    name: str | None = "vit"

    def __call__(
        self, images: jax.Array, is_training: bool, attention_offset: jax.Array | None = None
    ) -> ViTOutput:
        """Classify float images [B, height, width, channels].

        Args:
          images: float32 [B, height, width, channels].
          is_training: whether dropout and drop path act.
          attention_offset: [L, B, H, T, T], added to the attention weights after the softmax.
            JAX differentiates with respect to inputs only, so the gradient of a logit with
            respect to the attention is the one with respect to an offset of zeros.
        """
        x = dropout(self._embed(images), self.settings.dropout, is_training)  # [B, T, D]
        batch, tokens, width = x.shape
        x = x.reshape(batch * tokens, width)
        x, attention = run_blocks(
            self.settings, x, tokens, is_training, attention_offset, self.scan_layers, self.remat
        )
        x = layer_norm(x, "norm")
        features = x if self.settings.pool == "cls" else self._mean_patch(x, tokens)
        logits = Linear(self.num_classes, w_init=jnp.zeros, name="head")(features)
        return ViTOutput(logits, features, attention)

    @hk.transparent
    def _embed(self, images: jax.Array) -> jax.Array:
        """Equation 1: patches, positions, class token; registers after arXiv 2309.16588."""
        s = self.settings
        x = PatchEmbedding(s.patch_size, s.hidden_size, s.stem, name="patches")(images)  # [B, N, D]
        if s.position == "sincos2d":
            rows, columns = s.grid(*images.shape[1:3])
            x = x + sincos2d_positions(rows, columns, s.hidden_size)
        tokens = [self._shared_tokens("class_token", 1, len(x))] if s.pool == "cls" else []
        x = jnp.concatenate([*tokens, x], axis=1)
        if s.position == "learned":
            normal = hk.initializers.RandomNormal(0.02)
            x = x + hk.get_parameter("position", x.shape[1:], init=normal)
        if s.registers:
            registers = self._shared_tokens("registers", s.registers, len(x))
            first_patch = len(tokens)
            x = jnp.concatenate([x[:, :first_patch], registers, x[:, first_patch:]], axis=1)
        return x

    @hk.transparent
    def _shared_tokens(self, name: str, count: int, batch: int) -> jax.Array:
        """Learned tokens that are the same for each image: [B, count, D]."""
        width = self.settings.hidden_size
        init = jnp.zeros if name == "class_token" else hk.initializers.RandomNormal(0.02)
        tokens = hk.get_parameter(name, (count, width), init=init)
        return jnp.broadcast_to(tokens, (batch, count, width))

    def _mean_patch(self, x: jax.Array, tokens: int) -> jax.Array:
        """From [B * T, D] to [B, D]."""
        tokens_of_images = x.reshape(-1, tokens, x.shape[-1])
        return tokens_of_images[:, self.settings.registers :].mean(axis=1)


def make_model(
    settings: ModelSettings,
    num_classes: int,
    precision: Precision = "float32",
    scan_layers: bool = False,
    remat: bool = False,
) -> hk.Transformed:
    """The model as a pair of pure functions.

    Args:
      settings: the architecture.
      num_classes: C.
      precision: of the matrix products; the parameters and the output are float32 anyway. Only
        training makes use of it: what a model says is computed in float32.
      scan_layers: compile one block and loop over it; the same parameters and results, but for
        rounding.
      remat: compute each block anew for its gradient instead of keeping what it computed;
        implies scan_layers.

    Returns:
      init(key, images, is_training) -> parameters, and
      apply(parameters, key, images, is_training, attention_offset=None) -> ViTOutput.
    """

    def forward(
        images: jax.Array, is_training: bool, attention_offset: jax.Array | None = None
    ) -> ViTOutput:
        with computing_in(precision):
            return ViT(settings, num_classes, scan_layers, remat)(
                images, is_training, attention_offset
            )

    return hk.transform(forward)


def parameter_shapes(model: hk.Transformed, image_shape: Sequence[int]) -> hk.Params:
    """The parameters as jax.ShapeDtypeStruct, which take no memory."""
    images = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    return jax.eval_shape(lambda x: model.init(jax.random.key(0), x, False), images)


def count_parameters(settings: ModelSettings, image_shape: ImageShape, num_classes: int) -> int:
    """The number of learned numbers, in closed form."""
    s, (height, width, channels) = settings, image_shape
    d, m = s.hidden_size, s.mlp_dim
    class_tokens = 1 if s.pool == "cls" else 0
    patches = math.prod(s.grid(height, width))
    stem, patch_size = 0, s.patch_size
    for layer in stem_layers(s.patch_size, d) if s.stem == "conv" else []:
        stem += KERNEL**2 * channels * layer.channels + layer.channels
        channels, patch_size = layer.channels, patch_size // layer.stride
    embedding = stem + patch_size**2 * channels * d + d
    tokens = (class_tokens + s.registers) * d
    positions = (class_tokens + patches) * d if s.position == "learned" else 0
    qk_norms = 4 * (d // s.num_heads) if s.qk_norm else 0
    attention = 4 * (d * d + d) + qk_norms
    feed_forward = d * m + m + m * d + d
    norm = 2 * d
    block = attention + feed_forward + 2 * norm
    head = d * num_classes + num_classes
    return embedding + tokens + positions + s.num_layers * block + norm + head
