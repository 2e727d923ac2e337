"""A lower bound of the memory that a training takes."""

import jax.numpy as jnp

from vit_hk.model.cudnn_attention import has_cudnn_attention
from vit_hk.model.size import FLOAT32_BYTES, activation_bytes, count_parameters
from vit_hk.params import Config, ModelSettings
from vit_hk.runtime.batch_layout import BatchLayout
from vit_hk.runtime.memory import check_free_memory
from vit_hk.training.data import TrainingData

# Float32 arrays of the size of the parameters: the weights, the gradient, and the moments, of which
# AdamW has two. Muon has one for the matrices of blocks and hybrid stems, nearly all parameters.
ARRAYS_PER_PARAMETER = {"adamw": 4, "muon": 3}


def check_training_fits(
    config: Config, data: TrainingData, num_classes: int, layout: BatchLayout
) -> None:
    """Compare a lower bound of the memory that a training takes with what is free.

    Counted are the activations of a microbatch, and the weights with their optimizer state, of
    which each device has its own copy. Training images are not: they are in memory only where much
    is free; see `vit_hk.training.feed`.

    Raises:
      MemoryError: less is free.
    """
    image_shape = data.x_train.shape[1:]
    num_params = count_parameters(config.model, image_shape, num_classes)
    # Frozen parameters have neither gradient nor moments.
    num_arrays = 1 if config.train.freeze else ARRAYS_PER_PARAMETER[config.train.optimizer]
    head_size = config.model.hidden_size // config.model.num_heads
    activations = activation_bytes(
        _part_with_gradient(config), image_shape, layout.images_per_memory, config.train.remat,
        stores_attention=not has_cudnn_attention(jnp.dtype(config.train.precision), head_size),
    )  # fmt: skip
    replicated = num_arrays * FLOAT32_BYTES * num_params
    check_free_memory(activations + layout.devices_per_memory * replicated)


def _part_with_gradient(config: Config) -> ModelSettings:
    """Return the model without the stem and the first layers that no gradient reaches.

    They are frozen, and so is all that precedes them. Their activations are not kept.
    """
    first = next(part for part in config.model.parts if part not in config.train.freeze)
    if first == "patches":
        return config.model
    if first.startswith("block_"):
        frozen_layers = int(first.removeprefix("block_"))
    else:
        frozen_layers = config.model.num_layers if first in ("norm", "head") else 0
    rest = config.model.num_layers - frozen_layers
    return config.model.model_copy(update={"num_layers": rest, "stem": "linear"})
