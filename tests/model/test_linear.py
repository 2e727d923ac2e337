import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vit_hk.model.linear import Linear

NORMAL = hk.initializers.RandomNormal(0.5)


def ours(x):
    return Linear(5, w_init=NORMAL, b_init=NORMAL, name="layer")(x)


def haikus(x):
    return hk.Linear(5, w_init=NORMAL, b_init=NORMAL, name="layer")(x)


@pytest.mark.parametrize("shape", [(6, 3), (2, 4, 3)], ids=str)
def test_parameters_outputs_and_gradients_are_those_of_haiku(shape):
    random = np.random.default_rng(0)
    x = random.normal(size=shape).astype(np.float32)
    weights = random.normal(size=(*shape[:-1], 5)).astype(np.float32)  # of the outputs, in a sum
    results = []
    for layer in (hk.transform(ours), hk.transform(haikus)):
        params = layer.init(jax.random.key(0), x)

        def total(params, x, layer=layer):
            return (layer.apply(params, None, x) * weights).sum()

        output = layer.apply(params, None, x)
        results.append((params, output, jax.grad(total, (0, 1))(params, x)))
    first, second = results
    assert jax.tree.structure(first) == jax.tree.structure(second)
    for one, other in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_products_have_the_dtype_of_the_input():
    layer = hk.transform(ours)
    x = jnp.ones((2, 3), jnp.bfloat16)
    assert layer.apply(layer.init(jax.random.key(0), x), None, x).dtype == jnp.bfloat16
