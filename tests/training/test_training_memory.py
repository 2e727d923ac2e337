import jax
import numpy as np
import pytest
from jax.sharding import Mesh

from vit_hk.model.size import activation_bytes, count_parameters, inference_bytes
from vit_hk.model.vit import make_model, parameter_shapes
from vit_hk.runtime import memory
from vit_hk.runtime.batch_layout import AXIS, BatchLayout, layout_for_inference
from vit_hk.training.freezing import part_of
from vit_hk.training.memory import ARRAYS_PER_PARAMETER, check_training_fits
from vit_hk.training.train_step import build_train_step

SHAPE = (8, 8, 1)  # of the images of `quadrants`


class Device:
    """A stand-in for a jax.Device, for a mesh on which nothing is computed."""

    process_index = 0

    def __init__(self, platform: str) -> None:
        self.platform = platform


def check_bound(config, layout, needed, monkeypatch):
    """Check that exactly `needed` bytes are required."""
    shapes = parameter_shapes(make_model(config.model, 4), SHAPE)
    monkeypatch.setattr(memory, "free_bytes", lambda _: needed)
    check_training_fits(config, shapes, SHAPE, layout)
    monkeypatch.setattr(memory, "free_bytes", lambda _: needed - 1)
    with pytest.raises(MemoryError):
        check_training_fits(config, shapes, SHAPE, layout)


@pytest.mark.parametrize(
    ("platform", "devices_per_memory", "images_per_memory"), [("cpu", 2, 100), ("gpu", 1, 50)]
)
@pytest.mark.parametrize(
    ("optimizer", "ema_decay", "arrays", "remat"),
    [
        ("adamw", 0.0, 4, False), ("adamw", 0.9, 5, False), ("adamw", 0.0, 4, True),
        ("muon", 0.0, 3, False),
    ],
)  # fmt: skip
def test_pixels_activations_and_weights_must_fit_in_memory(
    make_config, monkeypatch, platform, devices_per_memory, images_per_memory,
    optimizer, ema_decay, arrays, remat,
):  # fmt: skip
    config = make_config(
        {"pool": "gap", "num_layers": 2}, optimizer=optimizer, ema_decay=ema_decay, remat=remat
    )
    # A weight, its gradient and two moments of Adam, or one of Muon, and its mean, float32.
    weight_bytes = 4 * arrays * count_parameters(config.model, SHAPE, 4)
    pixels = 4 * 8 * 8 * 3 * images_per_memory
    needed = activation_bytes(config.model, SHAPE, images_per_memory, remat)
    needed += pixels + devices_per_memory * weight_bytes
    mesh = Mesh(np.array([Device(platform), Device(platform)]), (AXIS,))
    layout = BatchLayout(mesh, num_microbatches=3, microbatch_size=50)
    check_bound(config, layout, needed, monkeypatch)


SCAN, REMAT = {"scan_layers": True}, {"remat": True}
# What is trained besides norm and head, the layers that keep activations, and the options.
PARTS_AND_LAYERS = [
    ("block_1", 2, {}), ("head", 0, {}), ("position", 3, {}), ("patches", 3, {}),
    # One loop keeps the activations of all its layers, or of none.
    ("block_1", 3, SCAN), ("head", 0, SCAN), ("head", 0, REMAT),
]  # fmt: skip


@pytest.mark.parametrize(
    ("pool", "trained", "num_layers", "options"),
    [(pool, *rest) for pool in ("cls", "gap") for rest in PARTS_AND_LAYERS]
    # With pool "cls" the last block is not in the loop.
    + [("cls", "block_2", 1, SCAN), ("gap", "block_2", 3, SCAN)],
)
def test_activations_of_layers_without_a_gradient_are_not_counted(
    make_config, monkeypatch, pool, trained, num_layers, options
):
    model = {"pool": pool, "num_layers": 3, "stem": "conv", "position": "learned"}
    parts = make_config(model).model.parts
    frozen = [part for part in parts if part not in (trained, "norm", "head")]
    config = make_config(model, freeze=frozen, init_from="models/vit.safetensors", **options)
    layout = BatchLayout(Mesh(np.array([Device("gpu")]), (AXIS,)), 1, 100)
    tokens = config.model.num_tokens(SHAPE)
    # The last layer keeps the attention of the class token only, which is not counted.
    kept = max(0, num_layers - (pool == "cls"))
    activations = attention = 100 * kept * 4 * config.model.num_heads * tokens**2
    if trained == "patches":  # the stem
        activations += activation_bytes(config.model, SHAPE, 100, remat=False) - attention
    weights = 0
    for module, arrays in parameter_shapes(make_model(config.model, 4), SHAPE).items():
        for name, array in arrays.items():
            is_frozen = part_of(module, name) in frozen
            weights += 4 * array.size * (1 if is_frozen else 4)  # its gradient, and two moments
    inference = layout_for_inference(config.train.batch_size, tokens, config.model.hidden_size)
    validation = inference_bytes(config.model, SHAPE, inference.images_per_memory)
    check_bound(config, layout, weights + max(activations, validation), monkeypatch)


def test_validation_in_float32_must_fit_where_training_stores_no_attention(
    make_config, monkeypatch
):
    config = make_config({"pool": "gap", "patch_size": 2}, precision="bfloat16", batch_size=64)
    monkeypatch.setattr("vit_hk.training.memory.has_cudnn_attention", lambda *_: True)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    layout = BatchLayout(Mesh(np.array([Device("gpu")] * 2), (AXIS,)), 1, 32)
    # Half of the batch is on each of the two devices, which share a memory here.
    validation = 2 * 32 * 4 * config.model.num_heads * config.model.num_tokens(SHAPE) ** 2
    weights = 4 * 4 * count_parameters(config.model, SHAPE, 4)
    check_bound(config, layout, weights + validation, monkeypatch)


def test_attention_is_not_counted_where_cudnn_stores_none(make_config, monkeypatch):
    config = make_config({"pool": "gap", "num_layers": 2}, precision="bfloat16")
    shapes = parameter_shapes(make_model(config.model, 4), SHAPE)
    mesh = Mesh(np.array([Device("gpu")]), (AXIS,))
    layout = BatchLayout(mesh, num_microbatches=1, microbatch_size=1000)
    # Room for the weights, and for a validation batch.
    free = 50_000 + 16 * count_parameters(config.model, SHAPE, 4)
    monkeypatch.setattr(memory, "free_bytes", lambda _: free)
    with pytest.raises(MemoryError):
        check_training_fits(config, shapes, SHAPE, layout)
    monkeypatch.setattr("vit_hk.training.memory.has_cudnn_attention", lambda *_: True)
    check_training_fits(config, shapes, SHAPE, layout)


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
