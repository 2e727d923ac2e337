"""Google's Vision Transformer in Flax, written from the paper and the names in its NPZ files.

Flax's default GELU is the approximation with tanh, and its default epsilon of LayerNorm 1e-6.
"""

import flax.linen as nn
import jax.numpy as jnp


class MlpBlock(nn.Module):
    mlp_dim: int

    @nn.compact
    def __call__(self, x):
        hidden = nn.gelu(nn.Dense(self.mlp_dim)(x))
        return nn.Dense(x.shape[-1])(hidden)


class EncoderBlock(nn.Module):
    num_heads: int
    mlp_dim: int

    @nn.compact
    def __call__(self, x):
        y = nn.LayerNorm(name="LayerNorm_0")(x)
        attention = nn.MultiHeadDotProductAttention(
            self.num_heads, name="MultiHeadDotProductAttention_1"
        )
        x = x + attention(y, y)
        y = nn.LayerNorm(name="LayerNorm_2")(x)
        return x + MlpBlock(self.mlp_dim, name="MlpBlock_3")(y)


class PositionEmbedding(nn.Module):
    @nn.compact
    def __call__(self, x):
        return x + self.param("pos_embedding", nn.initializers.zeros, (1, *x.shape[1:]))


class Encoder(nn.Module):
    num_layers: int
    num_heads: int
    mlp_dim: int

    @nn.compact
    def __call__(self, x):
        x = PositionEmbedding(name="posembed_input")(x)
        for layer in range(self.num_layers):
            x = EncoderBlock(self.num_heads, self.mlp_dim, name=f"encoderblock_{layer}")(x)
        return nn.LayerNorm(name="encoder_norm")(x)


class GoogleViT(nn.Module):
    """Logits of images [B, height, width, channels] with pixels from -1 to 1."""

    num_classes: int
    patch_size: int
    hidden_size: int
    num_layers: int
    num_heads: int
    mlp_dim: int
    classifier: str  # "token" or "gap"

    @nn.compact
    def __call__(self, images):
        patch = (self.patch_size, self.patch_size)
        x = nn.Conv(self.hidden_size, patch, patch, padding="VALID", name="embedding")(images)
        x = x.reshape(len(x), -1, self.hidden_size)
        if self.classifier == "token":
            cls = self.param("cls", nn.initializers.zeros, (1, 1, self.hidden_size))
            x = jnp.concatenate([jnp.tile(cls, (len(x), 1, 1)), x], axis=1)
        x = Encoder(self.num_layers, self.num_heads, self.mlp_dim, name="Transformer")(x)
        x = x[:, 0] if self.classifier == "token" else x.mean(axis=1)
        return nn.Dense(self.num_classes, name="head")(x)
