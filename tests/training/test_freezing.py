import jax
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from jax.sharding import PartitionSpec
from weights_files import dataset_of, random_weights

from vit_hk.model.vit import make_model, parameter_shapes
from vit_hk.training.checkpoint import Checkpoints
from vit_hk.training.freezing import merge_frozen, part_of, split_frozen
from vit_hk.training.loop import StoppedError, train
from vit_hk.training.train_step import build_train_step

MODEL = {"num_layers": 2, "position": "learned", "registers": 1}
DATASET = dataset_of((8, 8, 1), ("a", "b", "c", "d"))
FROZEN = ["patches", "position", "block_1"]


def by_part(params):
    """Return the bytes of the parameters of each part."""
    parts = {}
    for module, leaves in params.items():
        for name, leaf in leaves.items():
            parts.setdefault(part_of(module, name), {})[module, name] = np.asarray(leaf).tobytes()
    return parts


@pytest.mark.parametrize("model", [MODEL, {"pool": "gap", "stem": "hybrid"}], ids=["full", "plain"])
def test_parts_that_settings_name_are_those_of_the_model(make_config, model):
    settings = make_config(model=model).model
    shapes = parameter_shapes(make_model(settings, 4), (8, 8, 1))
    assert {part_of(m, name) for m, leaves in shapes.items() for name in leaves} == {
        *settings.parts
    }


def test_split_parameters_are_disjoint_and_make_up_the_model(make_config):
    weights = random_weights(make_config(model=MODEL), DATASET)
    trained, frozen = split_frozen(weights, FROZEN)
    assert by_part(frozen).keys() == set(FROZEN)
    assert not by_part(trained).keys() & set(FROZEN)
    assert by_part(merge_frozen(trained, frozen)) == by_part(weights)


def test_nothing_is_frozen_by_default(make_config):
    weights = random_weights(make_config(model=MODEL), DATASET)
    trained, frozen = split_frozen(weights, [])
    assert frozen == {}
    assert by_part(trained) == by_part(weights)


def assert_all_but_frozen_change(config, before, after):
    before, after = by_part(before), by_part(after)
    assert before.keys() == after.keys() == set(config.model.parts)
    for part, arrays in before.items():
        for key, array in arrays.items():
            assert (after[part][key] == array) == (part in config.train.freeze), key


def test_frozen_parts_keep_their_bits_and_all_others_change(make_config, quadrants):
    # With all that changes parameters besides AdamW, which the next test trains with.
    config = make_config(
        model=MODEL, freeze=FROZEN, epochs=1, warmup_epochs=0.0, weight_decay=0.3,
        optimizer="muon", ema_decay=0.5, sam_rho=0.1, layer_decay=0.7, scan_layers=True,
    )  # fmt: skip
    weights = random_weights(config, DATASET)
    trained = train(config, quadrants, 4, initial_weights=weights)
    assert_all_but_frozen_change(config, weights, trained.params)


def test_interrupted_training_with_frozen_parts_ends_with_the_same_bytes(
    make_config, quadrants, tmp_path
):
    config = make_config(
        {"position": "learned"}, freeze=["patches", "position"], epochs=1, warmup_epochs=0.0
    )
    weights = random_weights(config, DATASET)
    expected = train(config, quadrants, 4, initial_weights=weights)
    calls = iter([False, True])
    with pytest.raises(StoppedError):
        train(config, quadrants, 4, Checkpoints(tmp_path), lambda: next(calls), weights)
    resumed = train(config, quadrants, 4, Checkpoints(tmp_path), initial_weights=weights)
    assert by_part(resumed.params) == by_part(expected.params)
    assert_all_but_frozen_change(config, weights, resumed.params)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_layer_decay_scales_the_updates_and_weight_decay_of_each_trained_part(
    make_config, quadrants, optimizer
):
    settings = {"model": MODEL, "freeze": ["block_0"], "warmup_epochs": 0.0, "optimizer": optimizer}
    weights, _ = split_frozen(random_weights(make_config(model=MODEL), DATASET), ["block_0"])
    flat = ravel_pytree(weights)[0]
    gradient = np.random.default_rng(5).normal(size=flat.shape).astype(np.float32)

    def updates(layer_decay):
        step = build_train_step(make_config(**settings, layer_decay=layer_decay), quadrants, 4)
        update = jax.shard_map(
            lambda: step.optimizer.update(gradient, step.optimizer.init(flat), flat)[0],
            mesh=step.layout.mesh, in_specs=(), out_specs=PartitionSpec(), check_vma=False,
        )  # fmt: skip
        return step.unravel(jax.jit(update)())

    plain, decayed = updates(1.0), updates(0.5)
    factors = {"block_1": 0.5, "norm": 0.5, "head": 1.0}
    for module, leaves in plain.items():
        for name, leaf in leaves.items():
            factor = factors.get(part_of(module, name), 0.125)
            assert np.abs(leaf).max() > 0
            np.testing.assert_allclose(decayed[module][name], factor * leaf, rtol=1e-5)
