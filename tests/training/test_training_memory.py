import jax
import numpy as np
import pytest
from jax.sharding import Mesh

from vit_hk.model.size import activation_bytes, count_parameters
from vit_hk.runtime import memory
from vit_hk.runtime.batch_layout import AXIS, BatchLayout
from vit_hk.training.memory import ARRAYS_PER_PARAMETER, check_training_fits
from vit_hk.training.train_step import build_train_step

SHAPE = (8, 8, 1)  # of the images of `quadrants`


class Device:
    """A stand-in for a jax.Device, for a mesh on which nothing is computed."""

    process_index = 0

    def __init__(self, platform: str) -> None:
        self.platform = platform


@pytest.mark.parametrize(
    ("platform", "devices_per_memory", "images_per_memory"), [("cpu", 2, 100), ("gpu", 1, 50)]
)
@pytest.mark.parametrize(
    ("optimizer", "arrays", "remat"), [("adamw", 4, False), ("adamw", 4, True), ("muon", 3, False)]
)
def test_activations_and_weights_must_fit_in_memory(
    make_config, quadrants, monkeypatch, platform, devices_per_memory, images_per_memory,
    optimizer, arrays, remat,
):  # fmt: skip
    config = make_config({"pool": "gap", "num_layers": 2}, optimizer=optimizer, remat=remat)
    # A weight, its gradient and two moments of Adam, or one of Muon, float32.
    weight_bytes = 4 * arrays * count_parameters(config.model, SHAPE, 4)
    needed = activation_bytes(config.model, SHAPE, images_per_memory, remat)
    needed += devices_per_memory * weight_bytes
    mesh = Mesh(np.array([Device(platform), Device(platform)]), (AXIS,))
    layout = BatchLayout(mesh, num_microbatches=3, microbatch_size=50)
    monkeypatch.setattr(memory, "free_bytes", lambda _: needed)
    check_training_fits(config, quadrants, 4, layout)
    monkeypatch.setattr(memory, "free_bytes", lambda _: needed - 1)
    with pytest.raises(MemoryError):
        check_training_fits(config, quadrants, 4, layout)


@pytest.mark.parametrize("pool", ["cls", "gap"])
@pytest.mark.parametrize(
    ("trained", "num_layers"), [("block_1", 2), ("head", 0), ("position", 3), ("patches", 3)]
)
def test_activations_of_layers_without_a_gradient_are_not_counted(
    make_config, quadrants, monkeypatch, pool, trained, num_layers
):
    model = {"pool": pool, "num_layers": 3, "stem": "conv", "position": "learned"}
    parts = make_config(model).model.parts
    frozen = [part for part in parts if part not in (trained, "norm", "head")]
    config = make_config(model, freeze=frozen, init_from="models/vit.safetensors")
    layout = BatchLayout(Mesh(np.array([Device("gpu")]), (AXIS,)), 1, 100)
    tokens = config.model.num_tokens(SHAPE)
    # The last layer keeps the attention of the class token only, which is not counted.
    kept = max(0, num_layers - (pool == "cls"))
    needed = 100 * kept * 4 * config.model.num_heads * tokens**2
    needed += 4 * count_parameters(config.model, SHAPE, 4)
    if trained == "patches":
        needed += activation_bytes(config.model, SHAPE, 100, remat=False) - 100 * kept * (
            4 * config.model.num_heads * tokens**2
        )
    monkeypatch.setattr(memory, "free_bytes", lambda _: needed)
    check_training_fits(config, quadrants, 4, layout)
    monkeypatch.setattr(memory, "free_bytes", lambda _: needed - 1)
    with pytest.raises(MemoryError):
        check_training_fits(config, quadrants, 4, layout)


def test_attention_is_not_counted_where_cudnn_stores_none(make_config, quadrants, monkeypatch):
    config = make_config({"pool": "gap", "num_layers": 2}, precision="bfloat16")
    mesh = Mesh(np.array([Device("gpu")]), (AXIS,))
    layout = BatchLayout(mesh, num_microbatches=1, microbatch_size=1000)
    monkeypatch.setattr(memory, "free_bytes", lambda _: 100_000)
    with pytest.raises(MemoryError):
        check_training_fits(config, quadrants, 4, layout)
    monkeypatch.setattr("vit_hk.training.memory.has_cudnn_attention", lambda *_: True)
    check_training_fits(config, quadrants, 4, layout)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_arrays_per_parameter_are_a_lower_bound_for_each_optimizer(
    make_config, quadrants, optimizer
):
    # A bound that is too high would refuse a training that fits. Deep, as models that fill a
    # memory are: nearly all parameters are matrices of blocks.
    step = build_train_step(make_config({"num_layers": 12}, optimizer=optimizer), quadrants, 4)
    num_params = sum(leaf.size for leaf in jax.tree.leaves(step.param_shapes))
    flat = jax.ShapeDtypeStruct((num_params,), np.float32)
    moments = sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(step.optimizer.init, flat)))
    arrays = 2 + moments / num_params  # the weights and the gradient besides
    assert ARRAYS_PER_PARAMETER[optimizer] <= arrays < ARRAYS_PER_PARAMETER[optimizer] + 0.2


def test_training_step_is_built_only_where_the_training_fits_in_memory(
    make_config, quadrants, monkeypatch
):
    monkeypatch.setattr(memory, "free_bytes", lambda _: 100)
    with pytest.raises(MemoryError, match="GiB are needed"):
        build_train_step(make_config(), quadrants, 4)
