"""The Vision Transformer (arXiv 2010.11929), from images to logits, features and attention."""

import dataclasses
from typing import NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp

from vit_hk.model.block import dropout
from vit_hk.model.encoder import AttentionSelection, run_blocks
from vit_hk.model.layer_norm import layer_norm
from vit_hk.model.linear import Initializer, Linear
from vit_hk.model.patches import PatchEmbedding
from vit_hk.model.positions import sincos2d_positions
from vit_hk.model.precision import computing_in
from vit_hk.model.random_keys import ImageKeys, derive
from vit_hk.params import ImageShape, ModelSettings, Precision


class ViTOutput(NamedTuple):
    """The result of a forward pass; inside jax.jit, unused fields are not computed.

    Each row of `attention` sums to 1 unless attention_offset is given. A model that was made with
    `select_attention` has its results there instead, along a first axis [L, ...].
    """

    logits: jax.Array  # [B, C]
    features: jax.Array  # [B, D], the pooled token after the last LayerNorm
    attention: jax.Array  # [L, B, H, query T, key T]


@dataclasses.dataclass
class ViT(hk.Module):
    """Patch embedding, L pre-norm blocks, LayerNorm and a linear head (equations 1 to 4)."""

    settings: ModelSettings
    num_classes: int
    scan_layers: bool = False
    remat: bool = False
    select_attention: AttentionSelection | None = None
    name: str | None = "vit"

    def __call__(
        self, images: jax.Array, keys: ImageKeys = None, attention_offset: jax.Array | None = None
    ) -> ViTOutput:
        """Return logits, features and attention of images.

        Args:
          images: float32 [B, height, width, channels].
          keys: [B], a random key for each image, for dropout and drop path; None in inference.
          attention_offset: [L, B, H, T, T], added to the attention weights after the softmax.
            JAX differentiates with respect to inputs only, so the gradient of a logit with
            respect to the attention is the one with respect to an offset of zeros.
        """
        x = self._embed(images)  # [B, T, D]
        batch, num_tokens, width = x.shape
        x = x.reshape(batch * num_tokens, width)
        x = dropout(x, self.settings.dropout, derive(keys, 0))
        x, attention = run_blocks(
            self.settings, x, num_tokens, derive(keys, 1), attention_offset, self.select_attention,
            self.scan_layers, self.remat,
        )  # fmt: skip
        x = layer_norm(x, self.settings.norm_eps, "norm")
        is_class_token = self.settings.pool == "cls"
        features = x if is_class_token else self._global_average_pool(x, num_tokens)
        logits = Linear(self.num_classes, w_init=jnp.zeros, name="head")(features)
        return ViTOutput(logits, features, attention)

    @hk.transparent
    def _embed(self, images: jax.Array) -> jax.Array:
        """Return tokens [B, T, D]: patches, positions, class token (equation 1) and registers.

        The registers are those of arXiv 2309.16588.
        """
        s, normal = self.settings, hk.initializers.RandomNormal(0.02)
        embedding = PatchEmbedding(
            patch_size=s.patch_size, hidden_size=s.hidden_size, stem=s.stem, gelu=s.gelu,
            norm_eps=s.norm_eps, name="patches",
        )  # fmt: skip
        x = embedding(images)  # [B, N, D]
        if s.position == "sincos2d":
            x = x + sincos2d_positions(*s.grid(images.shape[1:]), s.hidden_size)
        first_patch = 0
        if s.pool == "cls":
            class_token = self._learned_tokens("class_token", 1, len(x), jnp.zeros)
            x, first_patch = jnp.concatenate([class_token, x], axis=1), 1
        if s.position == "learned":
            x = x + hk.get_parameter("position", x.shape[1:], init=normal)
        if s.registers:
            registers = self._learned_tokens("registers", s.registers, len(x), normal)
            x = jnp.concatenate([x[:, :first_patch], registers, x[:, first_patch:]], axis=1)
        return x

    @hk.transparent
    def _learned_tokens(self, name: str, count: int, batch: int, init: Initializer) -> jax.Array:
        """Return learned tokens that are the same for each image, [B, count, D]."""
        width = self.settings.hidden_size
        tokens = hk.get_parameter(name, (count, width), init=init)
        return jnp.broadcast_to(tokens, (batch, count, width))

    def _global_average_pool(self, x: jax.Array, num_tokens: int) -> jax.Array:
        """Return the mean of each image's patch tokens, [B, D], from tokens x [B * T, D]."""
        tokens = x.reshape(-1, num_tokens, x.shape[-1])
        return tokens[:, self.settings.registers :].mean(axis=1)


def make_model(
    settings: ModelSettings,
    num_classes: int,
    precision: Precision = "float32",
    scan_layers: bool = False,
    remat: bool = False,
    select_attention: AttentionSelection | None = None,
) -> hk.Transformed:
    """Build the model as a pair of pure functions.

    Args:
      settings: the architecture.
      num_classes: C.
      precision: precision of the matrix products; see `vit_hk.model.precision`. Only training uses
        another one than float32.
      scan_layers: compile one block and loop over it; parameters are the same, and results are the
        same up to rounding.
      remat: recompute each block for its gradient instead of keeping its activations, with pool
        "cls" all blocks but the last; implies scan_layers.
      select_attention: a function of a layer's attention weights [B, H, T, T], whose result takes
        their place in ViTOutput. With scan_layers, one layer's weights are in memory at a time.

    Returns:
      init(key, images) -> parameters, and
      apply(parameters, images, keys=None, attention_offset=None) -> ViTOutput, see `ViT`.
    """

    def forward(
        images: jax.Array, keys: ImageKeys = None, attention_offset: jax.Array | None = None
    ) -> ViTOutput:
        with computing_in(precision):
            vit = ViT(settings, num_classes, scan_layers, remat, select_attention)
            return vit(images, keys, attention_offset)

    return hk.without_apply_rng(hk.transform(forward))


def parameter_shapes(model: hk.Transformed, image_shape: ImageShape) -> hk.Params:
    """Return the shapes and dtypes of the parameters, as a tree of jax.ShapeDtypeStruct."""
    images = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    return jax.eval_shape(lambda x: model.init(jax.random.key(0), x), images)


def init_params(
    settings: ModelSettings, image_shape: ImageShape, num_classes: int, seed: int
) -> hk.Params:
    """Return random initial parameters, which depend on the seed alone."""
    model = make_model(settings, num_classes)
    images = jnp.zeros((1, *image_shape))
    # It runs once, so a short compile time matters more than fast compiled code. XLA's GPU backend
    # supports no other level than its default.
    unoptimized = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else None
    init = jax.jit(lambda key: model.init(key, images), compiler_options=unoptimized)
    return init(jax.random.key(seed))
