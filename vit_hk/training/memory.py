"""A lower bound of the memory that a training takes."""

import math

import haiku as hk
import jax
import jax.numpy as jnp

from vit_hk.model.cudnn_attention import has_cudnn_attention
from vit_hk.model.encoder import count_scanned_layers
from vit_hk.model.size import FLOAT32_BYTES, activation_bytes, inference_bytes
from vit_hk.params import Config, ImageShape, ModelSettings
from vit_hk.runtime.batch_layout import BatchLayout
from vit_hk.runtime.memory import check_free_memory
from vit_hk.training.freezing import split_frozen
from vit_hk.training.layouts import validation_layout

# Float32 arrays of the size of the parameters: the weights, the gradient, and the moments, of which
# AdamW has two. Muon has one for the matrices of blocks and hybrid stems, nearly all parameters.
ARRAYS_PER_PARAMETER = {"adamw": 4, "muon": 3}


def check_training_fits(
    config: Config, param_shapes: hk.Params, image_shape: ImageShape, layout: BatchLayout
) -> None:
    """Compare a lower bound of the memory that a training takes with what is free.

    Counted are the weights with their optimizer state, of which each device has its own copy, and
    besides them the larger of two: the pixels of a batch with the activations of a microbatch, or
    the largest layer of a validation batch. Training images are not counted: they are in memory
    only where much is free; see `vit_hk.training.feed`.

    Args:
      config: all settings.
      param_shapes: all parameters, as jax.ShapeDtypeStruct.
      image_shape: height, width and channels.
      layout: layout of a training batch.

    Raises:
      MemoryError: less is free.
    """
    weights = layout.devices_per_memory * _bytes_per_device(config, param_shapes)
    training = _batch_bytes(config, image_shape, layout)
    check_free_memory(weights + max(training, _validation_bytes(config, image_shape)))


def _bytes_per_device(config: Config, param_shapes: hk.Params) -> int:
    """Return the bytes of the weights, and of what the optimizer keeps of those it trains."""
    parts = split_frozen(param_shapes, config.train.freeze)
    trained, frozen = (sum(leaf.size for leaf in jax.tree.leaves(part)) for part in parts)
    arrays = ARRAYS_PER_PARAMETER[config.train.optimizer] + bool(config.train.ema_decay)
    return FLOAT32_BYTES * (arrays * trained + frozen)


def _batch_bytes(config: Config, image_shape: ImageShape, layout: BatchLayout) -> int:
    """Return the bytes of a batch's pixels in float32, and of a microbatch's activations.

    The pixels of a single microbatch are not counted: XLA need not store them.
    """
    images = layout.batch_images_per_memory if layout.num_microbatches > 1 else 0
    pixels = FLOAT32_BYTES * math.prod(image_shape) * images
    head_size = config.model.hidden_size // config.model.num_heads
    activations = activation_bytes(
        _part_with_gradient(config), image_shape, layout.images_per_memory, config.train.remat,
        stores_attention=not has_cudnn_attention(jnp.dtype(config.train.precision), head_size),
    )  # fmt: skip
    return pixels + activations


def _validation_bytes(config: Config, image_shape: ImageShape) -> int:
    """Return the bytes of the largest layer of a validation batch."""
    layout = validation_layout(config, image_shape)
    return inference_bytes(config.model, image_shape, layout.images_per_memory)


def _part_with_gradient(config: Config) -> ModelSettings:
    """Return the model without the stem and the first layers that no gradient reaches.

    They are frozen, and so is all that precedes them. Their activations are not kept, unless they
    are in one loop with others, which keeps the activations of all its layers or of none.
    """
    first = next(part for part in config.model.parts if part not in config.train.freeze)
    if first == "patches":
        return config.model
    if first.startswith("block_"):
        frozen_layers = int(first.removeprefix("block_"))
    else:
        frozen_layers = config.model.num_layers if first in ("norm", "head") else 0
    if frozen_layers < count_scanned_layers(
        config.model, config.train.scan_layers, config.train.remat
    ):
        frozen_layers = 0
    rest = config.model.num_layers - frozen_layers
    return config.model.model_copy(update={"num_layers": rest, "stem": "linear"})
