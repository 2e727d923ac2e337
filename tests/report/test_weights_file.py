import numpy as np
import pytest
from small_model import CLASSES, INFO, MODEL, random_images, random_params, save_small_model

from vit_hk.data.dataset import Dataset
from vit_hk.report.weights_file import read_weights_file


def make_dataset() -> Dataset:
    images, labels = random_images(3)[..., np.newaxis], np.arange(3, dtype=np.int32)
    return Dataset(images, labels, images, labels, INFO.data, INFO.source, tuple(CLASSES))


@pytest.mark.parametrize("calibrated", [False, True])
def test_statistics_are_not_counted_as_parameters(tmp_path, calibrated):
    path = save_small_model(tmp_path / "vit.safetensors", calibrated=calibrated)
    expected = sum(x.size for leaves in random_params().values() for x in leaves.values())
    weights = read_weights_file(path, MODEL, make_dataset())
    assert weights.num_parameters == expected
    assert sum(tensor.size for tensor in weights.read_tensors()) == expected
