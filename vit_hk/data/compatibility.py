"""Checks whether a model can be trained with the settings on a data set."""

from vit_hk.data.dataset import Dataset
from vit_hk.data.splits import stratified_split
from vit_hk.errors import UserError
from vit_hk.params import MAX_POSITION_ELEMENTS, Config

MAX_STEPS = 2**31 - 1  # of a training; JAX counts them in int32


def check_compatible(config: Config, dataset: Dataset) -> None:
    """Make sure that a model can be trained with these settings on this data set.

    Raises:
      UserError: the patch size does not divide the images, there are too many patches, the shift
        is larger than the images, none can be held out for validation, the batch is larger than the
        training split, or the training has too many steps.
    """
    height, width, _ = dataset.image_shape
    patch, shift = config.model.patch_size, config.train.augment.shift
    if height % patch or width % patch:
        raise UserError(
            f"params.yaml: model.patch_size is {patch}, images of {dataset.name} are {height} x "
            f"{width} pixels; allowed: {_common_divisors(height, width)}"
        )
    elements = config.model.num_patches(dataset.image_shape) * config.model.hidden_size
    if elements > MAX_POSITION_ELEMENTS:
        raise UserError(
            f"params.yaml: with model.patch_size {patch} and images of {height} x {width} pixels, "
            f"patches times model.hidden_size is {elements:,}; allowed: at most "
            f"{MAX_POSITION_ELEMENTS:,}; raise model.patch_size or lower model.hidden_size"
        )
    if shift >= min(height, width):
        raise UserError(
            f"params.yaml: train.augment.shift is {shift}, images are {height} x {width} pixels; "
            f"allowed: 0 to {min(height, width) - 1}"
        )
    kept, held_out = stratified_split(
        dataset.y_train, config.train.validation_fraction, config.seed
    )
    if not len(held_out):
        raise UserError(
            f"{dataset.name} has one training image per class, so none can be held out for "
            "validation; at least one class needs two"
        )
    if config.train.batch_size > len(kept):
        raise UserError(
            f"params.yaml: train.batch_size is {config.train.batch_size}, the training split has "
            f"{len(kept):,} images; allowed: 1 to {len(kept)}"
        )
    steps_per_epoch = len(kept) // config.train.batch_size
    if config.train.epochs * steps_per_epoch > MAX_STEPS:
        raise UserError(
            f"params.yaml: train.epochs is {config.train.epochs:,}, each of {steps_per_epoch:,} "
            f"steps; allowed: 1 to {MAX_STEPS // steps_per_epoch:,} epochs"
        )


def _common_divisors(height: int, width: int) -> str:
    smaller = min(height, width)
    return ", ".join(str(n) for n in range(1, smaller + 1) if not (height % n or width % n))
