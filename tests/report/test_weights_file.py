import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save
from small_model import CLASSES, INFO, MODEL, random_images, random_params, save_small_model

from vit_hk.data.dataset import Dataset
from vit_hk.errors import UserError
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
    assert (weights.temperature is not None) == calibrated


@pytest.mark.parametrize("value", [[0.0], [-1.0], [np.nan], [1.0, 2.0]])
def test_a_temperature_that_is_no_positive_number_is_refused(tmp_path, one_line, value):
    path = save_small_model(tmp_path / "vit.safetensors", calibrated=True)
    with safe_open(path, "np") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = file.metadata()
    tensors["calibration/temperature"] = np.array(value, np.float32)
    path.write_bytes(save(tensors, metadata))
    with pytest.raises(UserError) as raised:
        read_weights_file(path, MODEL, make_dataset())
    assert "vit.safetensors is damaged" in one_line(raised.value)
