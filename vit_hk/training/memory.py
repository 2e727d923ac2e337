"""A lower bound of the memory that a training takes."""

from vit_hk.model.size import FLOAT, count_parameters, residual_bytes
from vit_hk.params import Params
from vit_hk.runtime.batch_layout import BatchLayout
from vit_hk.runtime.memory import check_free_memory
from vit_hk.training.data import TrainingData

ARRAYS_PER_PARAMETER = 4  # the weight, its gradient and AdamW's two moments


def check_training_fits(
    params: Params, data: TrainingData, num_classes: int, layout: BatchLayout
) -> None:
    """Compare a lower bound of the memory that a training takes with what is free.

    Counted are the residuals of a microbatch, the weights with their optimizer state, and the
    training images, of which each device has its own copies.

    Raises:
      MemoryError: less is free.
    """
    image_shape = data.x_train.shape[1:]
    parameters = count_parameters(params.model, image_shape, num_classes)
    residuals = residual_bytes(
        params.model, image_shape, layout.images_per_memory, params.train.remat
    )
    replicated = ARRAYS_PER_PARAMETER * FLOAT * parameters + data.x_train.nbytes
    check_free_memory(residuals + layout.devices_per_memory * replicated)
