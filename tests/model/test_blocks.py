"""Blocks in a loop that is compiled once, and blocks computed twice, beside blocks written out."""

import functools

import jax
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from jaxpr import operations

from vit_hk.model.vit import make_model, parameter_shapes

IMAGES = np.random.default_rng(0).normal(size=(4, 4, 4, 1)).astype(np.float32)  # 2 x 2 patches
WEIGHTS = np.random.default_rng(1).normal(size=(4, 5)).astype(np.float32)  # of the logits


@pytest.fixture(scope="module")
def run(settings, random_params):
    """Everything that a model gives while training: its output and all its gradients."""

    @functools.cache
    def forward_and_backward(pool, **execution):
        s = settings(pool=pool, num_layers=3, dropout=0.1, drop_path=0.4, qk_norm=True, registers=1)
        model = make_model(s, 5, **execution)
        params = random_params(make_model(s, 5), IMAGES, False)
        tokens = 5 + (pool == "cls")
        offset = 0.1 * np.random.default_rng(2).normal(size=(3, 4, 2, tokens, tokens))

        def weighted(params, offset):
            key = jax.random.key(0)
            output = model.apply(params, key, IMAGES, is_training=True, attention_offset=offset)
            return (WEIGHTS * output.logits).sum() + (output.attention**2).sum(), output

        gradients = jax.jit(jax.grad(weighted, argnums=(0, 1), has_aux=True))
        return gradients(params, offset.astype(np.float32))

    return forward_and_backward


@pytest.mark.parametrize(
    ("pool", "execution"), [("cls", {"scan_layers": True}), ("gap", {"remat": True})], ids=str
)
def test_results_and_gradients_are_those_of_blocks_written_out(run, pool, execution):
    # With dropout and drop path: the random numbers are the same too.
    (slopes, offset_slope), output = run(pool)
    (other_slopes, other_offset_slope), other_output = run(pool, **execution)
    assert jax.tree.structure(slopes) == jax.tree.structure(other_slopes)
    assert_close(ravel_pytree(other_slopes)[0], ravel_pytree(slopes)[0])
    assert_close(other_offset_slope, offset_slope)
    for found, wanted in zip(other_output, output, strict=True):
        assert_close(found, wanted)


def assert_close(found, wanted):
    assert np.abs(wanted).max() > 0.1
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5 * np.abs(wanted).max())


@pytest.mark.parametrize("layers", [1, 3])
def test_first_weights_have_the_same_names_and_bytes(settings, layers):
    s = settings(num_layers=layers, qk_norm=True)
    models = [make_model(s, 5), make_model(s, 5, scan_layers=True, remat=True)]
    plain, scanned = jax.jit(lambda: [m.init(jax.random.key(3), IMAGES, False) for m in models])()
    assert "vit/block_0/attention/qkv" in scanned
    assert jax.tree.structure(plain) == jax.tree.structure(scanned)
    for one, other in zip(jax.tree.leaves(plain), jax.tree.leaves(scanned), strict=True):
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes()


@pytest.mark.parametrize("pool", ["cls", "gap"])
def test_program_of_scanned_layers_does_not_grow_with_depth(settings, pool):
    def products(layers, **execution):
        model = make_model(settings(pool=pool, num_layers=layers), 5, **execution)
        shapes = parameter_shapes(model, IMAGES.shape[1:])
        found = operations(
            jax.grad(lambda p: model.apply(p, None, IMAGES, True).logits.sum()), shapes
        )
        return sum(op.primitive.name == "dot_general" for op in found)

    assert products(9) > 2 * products(3)
    assert products(9, scan_layers=True) == products(3, scan_layers=True)


def test_remat_takes_less_memory(settings):
    s = settings(num_layers=8, hidden_size=32, mlp_dim=64)
    images = np.zeros((32, 8, 8, 1), np.float32)

    def temporary(remat):
        model = make_model(s, 5, scan_layers=True, remat=remat)
        shapes = parameter_shapes(model, images.shape[1:])
        loss = jax.jit(jax.grad(lambda p: model.apply(p, None, images, True).logits.sum()))
        return loss.lower(shapes).compile().memory_analysis().temp_size_in_bytes

    assert temporary(remat=True) < temporary(remat=False) / 2
