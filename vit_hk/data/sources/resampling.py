"""Brings arrays of images to the size and the channels that params.yaml asks for."""

import dataclasses

import numpy as np
from PIL import Image

from vit_hk.data.dataset import MAX_BYTES, Dataset
from vit_hk.data.preparation import prepare_image
from vit_hk.errors import UserError
from vit_hk.params import DataSettings, Preparation


def prepare_arrays(dataset: Dataset, settings: DataSettings) -> Dataset:
    """Resize the images of a data set as `data` says, and record how images are prepared.

    Images that have the size and the channels already keep their pixels. Of images with other than
    1 or 3 channels no preparation is recorded.

    Raises:
      UserError: images have other than 1 or 3 channels and are to be changed, or would take
        more memory than is allowed.
    """
    height, width, channels = dataset.image_shape
    if channels not in (1, 3):
        if settings.image_size or settings.channels:
            raise UserError(
                f"params.yaml: data.image_size and data.channels are for images of 1 or 3 "
                f"channels, those of {dataset.name} have {channels}; set both to null"
            )
        return dataset
    if settings.image_size:
        height, width = settings.image_size
    preparation = Preparation(
        height=height,
        width=width,
        channels=settings.channels or (1 if channels == 1 else 3),
        resize=settings.resize,
        background=settings.background,
    )
    if preparation.image_shape == dataset.image_shape:
        return dataclasses.replace(dataset, preparation=dataset.preparation or preparation)
    check_total_size(len(dataset.x_train) + len(dataset.x_test), preparation)
    return dataclasses.replace(
        dataset,
        x_train=_prepare_all(dataset.x_train, preparation),
        x_test=_prepare_all(dataset.x_test, preparation),
        preparation=preparation,
    )


def check_total_size(num_images: int, preparation: Preparation) -> None:
    """Make sure that this many images fit into a data set.

    Raises:
      UserError: they have more than MAX_BYTES.
    """
    height, width, channels = preparation.image_shape
    total = num_images * height * width * channels
    if total > MAX_BYTES:
        raise UserError(
            f"{num_images:,} images of {height} x {width} pixels and {channels} channels take "
            f"{total:,} bytes; at most {MAX_BYTES:,} are allowed; choose a smaller data.image_size "
            "in params.yaml"
        )


def _prepare_all(images: np.ndarray, preparation: Preparation) -> np.ndarray:
    """Prepare images uint8 [N, height, width, 1 or 3]."""
    prepared = np.empty((len(images), *preparation.image_shape), np.uint8)
    for index, image in enumerate(images):
        pixels = image[..., 0] if image.shape[-1] == 1 else image
        prepared[index] = prepare_image(Image.fromarray(pixels), preparation)
    return prepared
