import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vit_hk.model.linear import Linear

NORMAL = hk.initializers.RandomNormal(0.5)


def make(module, size=5):
    return hk.transform(lambda x: module(size, w_init=NORMAL, b_init=NORMAL, name="layer")(x))


# Fewer columns than a SIMD vector has lanes, and more.
@pytest.mark.parametrize("size", [5, 21])
@pytest.mark.parametrize("shape", [(6, 3), (2, 4, 3)], ids=str)
def test_parameters_outputs_and_gradients_equal_haiku(shape, size):
    random = np.random.default_rng(0)
    x = random.normal(size=shape).astype(np.float32)
    cotangent = random.normal(size=(*shape[:-1], size)).astype(np.float32)
    results = []
    for layer in (make(Linear, size), make(hk.Linear, size)):
        params = layer.init(jax.random.key(0), x)
        output, backward = jax.vjp(lambda p, x, layer=layer: layer.apply(p, None, x), params, x)
        results.append((params, output, backward(cotangent)))
    assert jax.tree.structure(results[0]) == jax.tree.structure(results[1])
    for array, expected in zip(*map(jax.tree.leaves, results), strict=True):
        np.testing.assert_allclose(array, expected, rtol=1e-5, atol=1e-6)


def test_output_has_the_dtype_of_the_input():
    layer = make(Linear)
    x = jnp.ones((2, 3), jnp.bfloat16)
    assert layer.apply(layer.init(jax.random.key(0), x), None, x).dtype == jnp.bfloat16
