import jax
import numpy as np
import optax
import pytest
import torch
from jax.flatten_util import ravel_pytree

from vit_hk.model.vit import make_model, parameter_shapes
from vit_hk.training.optimizer import decay_mask, learning_rate_schedule, make_optimizer


def learning_rates(settings, steps_per_epoch, *steps):
    schedule = learning_rate_schedule(settings, steps_per_epoch)
    return [float(schedule(step)) for step in steps]


def test_schedule_is_a_linear_warm_up_and_a_cosine(make_config):
    settings = make_config(epochs=5, learning_rate=0.004, warmup_epochs=1.0).train
    # 4 steps of warm-up, then 16 of cosine: 0.002 (1 + cos(180° (step - 4) / 16)).
    expected = {
        0: 0.0,
        1: 0.001,
        2: 0.002,
        4: 0.004,
        8: 0.002 * (1 + 0.5**0.5),
        12: 0.002,
        16: 0.002 * (1 - 0.5**0.5),
        20: 0.0,
    }
    assert learning_rates(settings, 4, *expected) == pytest.approx(
        list(expected.values()), abs=1e-9
    )


def test_schedule_without_warm_up_starts_at_the_peak(make_config):
    settings = make_config(epochs=2, learning_rate=0.004, warmup_epochs=0.0).train
    assert learning_rates(settings, 5, 0, 5, 10) == pytest.approx([0.004, 0.002, 0.0], abs=1e-9)


def test_warm_up_may_end_within_an_epoch(make_config):
    settings = make_config(epochs=2, learning_rate=0.004, warmup_epochs=0.5).train
    assert learning_rates(settings, 8, 0, 2, 4, 10, 16) == pytest.approx(
        [0.0, 0.002, 0.004, 0.002, 0.0], abs=1e-9
    )


@pytest.mark.parametrize(("warmup_epochs", "steps"), [(0.995, 56), (0.9, 3), (0.5, 1)])
def test_warm_up_that_rounds_to_the_whole_training_leaves_one_step(
    make_config, warmup_epochs, steps
):
    settings = make_config(epochs=1, learning_rate=0.004, warmup_epochs=warmup_epochs).train
    assert learning_rates(settings, steps, steps - 1, steps) == pytest.approx(
        [0.004, 0.0], abs=1e-9
    )


PARAMS = {
    "norm": {"scale": (3,), "offset": (3,)},
    "linear": {"w": (3, 4), "b": (4,)},
    "vit": {"position": (2, 3), "class_token": (1, 3)},
}


def random_tree(seed, scale=1.0):
    random = np.random.default_rng(seed)
    return {
        module: {
            name: (scale * random.normal(size=shape)).astype(np.float32)
            for name, shape in leaves.items()
        }
        for module, leaves in PARAMS.items()
    }


def flatten(tree):
    return {(module, name): x for module, leaves in tree.items() for name, x in leaves.items()}


@pytest.mark.parametrize(("weight_decay", "grad_clip"), [(0.3, 1.0), (0.3, 0.0), (0.0, 1.0)])
def test_steps_equal_torch_adamw_on_two_groups_after_clipping(make_config, weight_decay, grad_clip):
    settings = make_config(weight_decay=weight_decay, grad_clip=grad_clip).train
    start = random_tree(0)
    # Norms below and above the maximum, since Adam cancels a factor that is constant.
    gradients = [random_tree(seed, scale) for seed, scale in enumerate([0.02, 5, 0.1, 40, 0.3], 1)]

    flat, unravel = ravel_pytree(start)
    optimizer = make_optimizer(settings, optax.constant_schedule(0.01), start, unravel, 2)
    state = optimizer.init(flat)
    update = jax.jit(optimizer.update)
    for gradient in gradients:
        updates, state = update(ravel_pytree(gradient)[0], state, flat)
        flat = flat + updates

    reference = {
        key: torch.tensor(x, dtype=torch.float64, requires_grad=True)
        for key, x in flatten(start).items()
    }
    groups = [
        {"params": [reference["linear", "w"]], "weight_decay": weight_decay},
        {"params": [x for key, x in reference.items() if key[1] != "w"], "weight_decay": 0.0},
    ]
    adamw = torch.optim.AdamW(groups, lr=0.01)
    for gradient in gradients:
        for key, x in flatten(gradient).items():
            reference[key].grad = torch.tensor(x, dtype=torch.float64)
        if grad_clip:
            torch.nn.utils.clip_grad_norm_(reference.values(), grad_clip)
        adamw.step()

    for key, x in flatten(unravel(flat)).items():
        np.testing.assert_allclose(x, reference[key].detach(), rtol=1e-5, atol=2e-6)


def test_optimizer_follows_the_schedule(make_config):
    settings = make_config(weight_decay=0.0, grad_clip=0.0).train
    optimizer = make_optimizer(
        settings, lambda step: 0.1 * (step + 1), {"m": {"b": np.zeros(2, np.float32)}}, None, 2
    )
    x = np.zeros(2, np.float32)
    state = optimizer.init(x)
    for step in range(4):
        # The update of Adam for a constant gradient is its sign, up to rounding.
        updates, state = optimizer.update(np.array([3.0, -0.5], np.float32), state, x)
        rate = 0.1 * (step + 1)
        np.testing.assert_allclose(updates, [-rate, rate], rtol=1e-4)


def test_decay_mask_selects_weight_matrices_only(make_config):
    settings = make_config(model={"registers": 2, "qk_norm": True}).model
    shapes = parameter_shapes(make_model(settings, 5), (8, 8, 1))
    params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes)
    flat, unravel = ravel_pytree(params)
    mask = decay_mask(params)
    assert mask.shape == flat.shape
    assert mask.dtype == np.float32
    for (module, name), values in flatten(unravel(mask)).items():
        linear = module.split("/")[-1] in {"linear", "qkv", "out", "in", "head"}
        assert (values == float(linear and name == "w")).all(), (module, name)


@pytest.mark.parametrize(
    ("module", "shape", "other", "other_shapes"),
    [
        ("vit/block_0/mlp/in", (6, 4), "vit/patches/conv_1", {"w": (5, 4), "b": (4,)}),
        ("vit/block_0/mlp/in", (5, 5), "vit/patches/linear", {"w": (5, 4), "b": (4,)}),
        ("vit/patches/conv_1", (4, 6), "vit/patches/norm_0", {"scale": (6,), "offset": (6,)}),
    ],
)
def test_muon_orthogonalizes_the_update_of_a_matrix_of_a_block_or_a_hybrid_stem(
    make_config, module, shape, other, other_shapes
):
    settings = make_config(optimizer="muon", weight_decay=0.5, grad_clip=0.0).train
    random = np.random.default_rng(0)
    start, gradient = (
        {
            module: {"w": random.normal(size=shape), "b": random.normal(size=3)},
            other: {key: random.normal(size=size) for key, size in other_shapes.items()},
            "vit/head": {"w": random.normal(size=(4, 3)), "b": random.normal(size=3)},
        }
        for _ in range(2)
    )
    flat, unravel = ravel_pytree(jax.tree.map(np.float32, start))
    schedule = optax.constant_schedule(0.1)
    optimizer = make_optimizer(settings, schedule, start, unravel, 2)
    updates, _ = jax.jit(optimizer.update)(
        ravel_pytree(jax.tree.map(np.float32, gradient))[0], optimizer.init(flat), flat
    )
    found = {key: np.asarray(x, np.float64) for key, x in flatten(unravel(updates)).items()}
    params = flatten(start)
    for key in found:  # subtract the weight decay, which is that of AdamW
        found[key] += 0.1 * 0.5 * params[key] * (key[1] == "w")
    # The first update of NAdam is the sign of the gradient, times 1 + 0.9 (1 - 0.9) / (1 - 0.9²).
    for key, x in flatten(gradient).items():
        if key != (module, "w"):
            np.testing.assert_allclose(found[key], -0.1 * 28 / 19 * np.sign(x), rtol=1e-3)
    # That of Muon is u v for a gradient with the singular value decomposition u s v, scaled to the
    # mean square of Adam's updates. Five Newton-Schulz steps bring the singular values to between
    # 0.7 and 1.2.
    u, _, v = np.linalg.svd(gradient[module]["w"], full_matrices=False)
    scale = -0.1 * 0.2 * max(shape) ** 0.5
    singular_values = u.T @ (found[module, "w"] / scale) @ v.T
    assert np.diag(singular_values).min() > 0.6
    assert np.diag(singular_values).max() < 1.3
    np.testing.assert_allclose(singular_values, np.diag(np.diag(singular_values)), atol=1e-3)
