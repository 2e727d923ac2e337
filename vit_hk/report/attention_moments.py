"""The mean attention over the test images, checked against the settings and the data."""

import dataclasses
from pathlib import Path

from vit_hk.data.dataset import Dataset
from vit_hk.explain.attention_moments import AttentionMoments
from vit_hk.params import ModelSettings
from vit_hk.report.reading import check_array, read_arrays, user_error_if_damaged


def read_attention_moments(path: Path, model: ModelSettings, dataset: Dataset) -> AttentionMoments:
    """Read the mean attention and check it against the settings and the data.

    Raises:
      UserError: the file is missing or damaged, or was made with other settings or data.
    """
    names = [field.name for field in dataclasses.fields(AttentionMoments)]
    moments = AttentionMoments(**read_arrays(path, "attention", names))
    maps = model.num_layers, model.num_heads, model.num_patches(dataset.image_shape)
    with user_error_if_damaged(path, "attention"):
        check_array("mean", moments.mean, "f", maps)
        check_array("mean_square", moments.mean_square, "f", maps)
        check_array("count", moments.count, "iu", ())
        if moments.count != len(dataset.x_test):
            raise ValueError("not of all test images of the data set")
        if min(moments.mean.min(), moments.mean_square.min()) < 0:
            raise ValueError("a negative weight")
    return moments
