"""Scanned and rematerialized blocks compute the same as unrolled blocks.

`test_reference.py` compares each with the reference; here dropout and drop path act as well, and
an offset is added to the attention weights.
"""

import functools

import jax
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from jaxpr import operations

from vit_hk.model.vit import make_model, parameter_shapes

IMAGES = np.random.default_rng(0).normal(size=(4, 4, 4, 1)).astype(np.float32)  # 2 x 2 patches
LOGIT_WEIGHTS = np.random.default_rng(1).normal(size=(4, 5)).astype(np.float32)


@pytest.fixture(scope="module")
def run(settings, random_params):
    """Return a function that computes the output of a model in training, and all gradients."""

    @functools.cache
    def forward_and_backward(**execution):
        s = settings(num_layers=3, dropout=0.1, drop_path=0.4, qk_norm=True, registers=1)
        model = make_model(s, 5, **execution)
        params = random_params(make_model(s, 5), IMAGES)
        num_tokens = s.num_tokens(IMAGES.shape[1:])
        offset = 0.1 * np.random.default_rng(2).normal(size=(3, 4, 2, num_tokens, num_tokens))

        def loss(params, offset):
            keys = jax.random.split(jax.random.key(0), len(IMAGES))
            output = model.apply(params, IMAGES, keys, offset)
            return (LOGIT_WEIGHTS * output.logits).sum() + (output.attention**2).sum(), output

        gradients = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))
        return gradients(params, offset.astype(np.float32))

    return forward_and_backward


@pytest.mark.parametrize("execution", [{"scan_layers": True}, {"remat": True}], ids=str)
def test_outputs_and_gradients_equal_those_of_unrolled_blocks(run, execution):
    # Dropout and drop path are equal only if the random numbers are the same.
    (expected_d_params, expected_d_offset), expected_output = run()
    (d_params, d_offset), output = run(**execution)
    assert jax.tree.structure(d_params) == jax.tree.structure(expected_d_params)
    assert_close(ravel_pytree(d_params)[0], ravel_pytree(expected_d_params)[0])
    assert_close(d_offset, expected_d_offset)
    for array, expected in zip(output, expected_output, strict=True):
        assert_close(array, expected)


def assert_close(actual, expected):
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("num_layers", [1, 3])
def test_initial_parameters_have_the_same_names_and_bytes(settings, num_layers):
    s = settings(num_layers=num_layers, qk_norm=True)
    models = [make_model(s, 5), make_model(s, 5, scan_layers=True, remat=True)]
    unrolled, scanned = jax.jit(
        lambda: [model.init(jax.random.key(3), IMAGES) for model in models]
    )()
    assert "vit/block_0/attention/qkv" in scanned
    assert jax.tree.structure(unrolled) == jax.tree.structure(scanned)
    for expected, array in zip(*map(jax.tree.leaves, (unrolled, scanned)), strict=True):
        assert np.asarray(array).tobytes() == np.asarray(expected).tobytes()


@pytest.mark.parametrize("pool", ["cls", "gap"])
def test_program_of_scanned_layers_does_not_grow_with_depth(settings, pool):
    def count_matmuls(num_layers, **execution):
        model = make_model(settings(pool=pool, num_layers=num_layers), 5, **execution)
        shapes = parameter_shapes(model, IMAGES.shape[1:])
        gradient = jax.grad(lambda p: model.apply(p, IMAGES).logits.sum())
        found = operations(gradient, shapes)
        return sum(operation.primitive.name == "dot_general" for operation in found)

    assert count_matmuls(5) > count_matmuls(3)
    assert count_matmuls(5, scan_layers=True) == count_matmuls(3, scan_layers=True)


def test_remat_takes_less_memory(settings):
    s = settings(num_layers=8, hidden_size=32, mlp_dim=64)
    images = np.zeros((32, 8, 8, 1), np.float32)

    def temporary_bytes(remat):
        model = make_model(s, 5, scan_layers=True, remat=remat)
        shapes = parameter_shapes(model, images.shape[1:])
        gradient = jax.jit(jax.grad(lambda p: model.apply(p, images).logits.sum()))
        return gradient.lower(shapes).compile().memory_analysis().temp_size_in_bytes

    assert temporary_bytes(remat=True) < temporary_bytes(remat=False) / 2
