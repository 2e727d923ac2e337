import numpy as np
import pytest
from jax.sharding import Mesh

from vit_hk.model.size import count_parameters, residual_bytes
from vit_hk.runtime import memory
from vit_hk.runtime.batch_layout import AXIS, BatchLayout
from vit_hk.training.memory import check_training_fits

SHAPE = (8, 8, 1)  # of the images of `quadrants`
IMAGE_BYTES = 160 * 8 * 8


class Device:
    """A stand-in for a jax.Device, for a mesh on which nothing is computed."""

    def __init__(self, platform: str) -> None:
        self.platform = platform


@pytest.mark.parametrize(
    ("platform", "devices_per_memory", "images_per_memory"), [("cpu", 2, 100), ("gpu", 1, 50)]
)
@pytest.mark.parametrize("remat", [False, True])
def test_residuals_weights_and_images_must_fit_in_memory(
    make_params, quadrants, monkeypatch, platform, devices_per_memory, images_per_memory, remat
):
    params = make_params({"pool": "gap", "num_layers": 2}, remat=remat)
    # A weight, its gradient and two moments of Adam, float32.
    weight_bytes = 16 * count_parameters(params.model, SHAPE, 4)
    needed = residual_bytes(params.model, SHAPE, images_per_memory, remat)
    needed += devices_per_memory * (weight_bytes + IMAGE_BYTES)
    mesh = Mesh(np.array([Device(platform), Device(platform)]), (AXIS,))
    layout = BatchLayout(mesh, num_microbatches=3, microbatch_size=50)
    monkeypatch.setattr(memory, "free_bytes", lambda _: needed)
    check_training_fits(params, quadrants, 4, layout)
    monkeypatch.setattr(memory, "free_bytes", lambda _: needed - 1)
    with pytest.raises(MemoryError):
        check_training_fits(params, quadrants, 4, layout)
