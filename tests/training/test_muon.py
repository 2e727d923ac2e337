import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from jax.flatten_util import ravel_pytree
from jax.sharding import PartitionSpec

from vit_hk.model.vit import make_model, parameter_shapes
from vit_hk.runtime.batch_layout import AXIS
from vit_hk.training.freezing import part_of, split_frozen
from vit_hk.training.muon import orthogonalize, scale_by_muon

RANDOM = np.random.default_rng(0)
SHAPES = {"mlp/in": (6, 16), "mlp/out": (16, 6), "qkv": (6, 18), "out": (6, 6)}


def draw(num_blocks):
    return {
        f"vit/block_{block}/{name}": {"w": RANDOM.normal(size=shape).astype(np.float32)}
        for block in range(num_blocks)
        for name, shape in SHAPES.items()
    }


def test_steps_equal_those_of_torch(monkeypatch):
    # torch.optim.Muon orthogonalizes in bfloat16, in which ill-conditioned matrices lose a tenth.
    monkeypatch.setattr(torch.Tensor, "bfloat16", torch.Tensor.float)
    start = draw(2)
    flat, unravel = ravel_pytree(start)
    transform = scale_by_muon(unravel, num_devices=1)
    update, state = jax.jit(transform.update), transform.init(flat)
    weights = {name: torch.nn.Parameter(torch.tensor(x["w"])) for name, x in start.items()}
    optimizer = torch.optim.Muon(
        weights.values(), lr=1.0, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"
    )
    for _ in range(3):
        gradient = draw(2)
        direction, state = update(ravel_pytree(gradient)[0], state)
        found = unravel(direction)
        before = {name: weight.detach().clone() for name, weight in weights.items()}
        for name, weight in weights.items():
            weight.grad = torch.tensor(gradient[name]["w"])
        optimizer.step()
        for name, weight in weights.items():
            expected = (before[name] - weight).detach().numpy()
            assert np.abs(expected).mean() > 0.1  # the root mean square is 0.2
            np.testing.assert_allclose(found[name]["w"], expected, atol=1e-4, err_msg=name)


@pytest.mark.parametrize(
    ("stem", "freeze", "expected"),
    [
        ("linear", [], {"block_0"}),
        ("conv", [], {"block_0"}),
        ("cct", ["head"], {"block_0"}),
        ("hybrid", [], {"block_0", "patches"}),
        ("hybrid", ["patches"], {"block_0"}),
        ("hybrid", ["block_0"], {"patches"}),
    ],
)
def test_matrices_of_blocks_and_convolutions_of_hybrid_stems_have_momentum(
    make_config, stem, freeze, expected
):
    settings = make_config(model={"stem": stem, "num_layers": 1, "patch_size": 4}).model
    shapes = parameter_shapes(make_model(settings, 3), (8, 8, 1))
    trained, _ = split_frozen(shapes, freeze)
    flat, unravel = ravel_pytree(jax.tree.map(lambda x: np.zeros(x.shape, np.float32), trained))
    momentum = scale_by_muon(unravel, num_devices=1).init(flat).momentum
    assert {part_of(module, "w") for module in momentum} == expected
    assert momentum.keys() == {
        module
        for module, leaves in trained.items()
        if "w" in leaves and part_of(module, "w") in expected and module != "vit/patches/linear"
    }
    assert all(leaves.keys() == {"w"} for leaves in momentum.values())


@pytest.mark.parametrize("num_blocks", [0, 1, 3])
def test_two_devices_compute_what_one_computes(num_blocks):
    matrices = draw(num_blocks)
    mesh = jax.make_mesh((2,), (AXIS,))
    replicated = PartitionSpec()
    shared = jax.shard_map(
        lambda x: orthogonalize(x, num_devices=2),
        mesh=mesh, in_specs=replicated, out_specs=replicated, check_vma=False,
    )  # fmt: skip
    found = jax.jit(shared)(matrices)
    expected = jax.jit(lambda x: orthogonalize(x, num_devices=1))(matrices)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), found, expected)


def test_without_blocks_nadam_updates_all():
    params = {"vit/head": {"w": RANDOM.normal(size=(4, 3)).astype(np.float32)}}
    flat, unravel = ravel_pytree(params)
    transform = scale_by_muon(unravel, num_devices=2)
    direction, _ = transform.update(flat, transform.init(flat))
    np.testing.assert_allclose(direction, 28 / 19 * np.sign(flat), rtol=1e-3)


def test_matrix_of_zeros_stays_zero():
    zeros = {"vit/block_0/out": {"w": jnp.zeros((3, 5))}}
    np.testing.assert_array_equal(orthogonalize(zeros, 1)["vit/block_0/out"]["w"], 0)
