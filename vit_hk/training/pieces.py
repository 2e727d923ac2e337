"""The pieces of a batch, as the model takes them: augmented, mixed and normalised.

They are prepared in a loop of their own. Where XLA can see who reads the images, it computes them
anew for each reader, and turning and resizing then takes a quarter of a step, in which it now
takes a twentieth.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from vit_hk.dataset import normalize
from vit_hk.division import Division
from vit_hk.params import AugmentSettings
from vit_hk.training.augment import augment
from vit_hk.training.mixing import mix_images


class Split(NamedTuple):
    """Images and labels on the device."""

    images: jax.Array  # uint8 [N, height, width, channels]
    labels: jax.Array  # int32 [N]


class Piece(NamedTuple):
    """What a device takes at a time; with one more axis in front, all its pieces of a batch."""

    images: jax.Array  # float32 [B, height, width, channels]
    labels: jax.Array  # int32 [B]
    share: jax.Array  # float32 [], of each image itself in its mixture
    key: jax.Array  # of the model's random numbers


def prepare_pieces(
    key: jax.Array,
    split: Split,
    chosen: jax.Array,
    settings: AugmentSettings,
    mean: list[float],
    std: list[float],
    division: Division,
) -> Piece:
    """The pieces of the device that computes this, each with random numbers of its own.

    Args:
      key: of the batch's random numbers.
      split: all images.
      chosen: int [images of a batch], the numbers of its images.
      settings: of the augmentation.
      mean: of each channel of the images, on the scale 0 to 1.
      std: the same.
      division: of the batch.
    """

    def prepare(number: jax.Array) -> Piece:
        some = jax.lax.dynamic_slice(chosen, (number * division.piece,), (division.piece,))
        augment_key, model_key, mix_key = jax.random.split(jax.random.fold_in(key, number), 3)
        images = augment(augment_key, split.images[some], settings)
        images, share = mix_images(mix_key, images, settings)
        scaled = normalize(images, jnp.float32(mean), jnp.float32(std))
        return Piece(scaled, split.labels[some], jnp.float32(share), model_key)

    numbers = jax.lax.axis_index("batch") * division.pieces + jnp.arange(division.pieces)
    return jax.lax.map(prepare, numbers)
