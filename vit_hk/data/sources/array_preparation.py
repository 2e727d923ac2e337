"""Brings arrays of images to the size and the channels that params.yaml asks for."""

import dataclasses
import math

import numpy as np
from PIL import Image

from vit_hk.data.dataset import Dataset
from vit_hk.data.image_preparation import prepare_image
from vit_hk.data.sources.image_spool import ImageSpool
from vit_hk.data.spool import check_room
from vit_hk.errors import UserError
from vit_hk.params import DataSettings, Preparation


def prepare_arrays(dataset: Dataset, settings: DataSettings) -> Dataset:
    """Resize the images of a data set as `data` says, and record how images are prepared.

    Images that have the size and the channels already keep their pixels. Of images with other than
    1 or 3 channels no preparation is recorded.

    Raises:
      UserError: images have other than 1 or 3 channels and are to be changed, or the disk has no
        room for them.
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
    num_images = len(dataset.x_train) + len(dataset.x_test)
    # The NPZ file takes as much room as all images that wait for it.
    check_room(2 * num_images * math.prod(preparation.image_shape))
    return dataclasses.replace(
        dataset,
        x_train=_prepare_all(dataset.x_train, preparation),
        x_test=_prepare_all(dataset.x_test, preparation),
        preparation=preparation,
    )


def _prepare_all(images: np.ndarray, preparation: Preparation) -> np.ndarray:
    """Prepare images uint8 [N, height, width, 1 or 3]; they wait on disk for the NPZ file."""
    with ImageSpool(len(images), preparation.image_shape) as spool:
        for index, image in enumerate(images):
            pixels = image[..., 0] if image.shape[-1] == 1 else image
            spool.write(index, prepare_image(Image.fromarray(pixels), preparation))
        return spool.map()
