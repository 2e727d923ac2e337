import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from vit_hk.kernels.layer_norm import EPSILON
from vit_hk.model.normalization import layer_norm


@pytest.mark.parametrize("shape", [(5, 7), (2, 3, 4, 16), (3, 1)], ids=str)
@pytest.mark.parametrize("center", [0.0, 100.0])
def test_outputs_and_gradients_equal_those_of_torch(shape, center):
    random = np.random.default_rng(0)
    x = (center + random.normal(size=shape)).astype(np.float32)
    scale, offset = random.normal(size=(2, shape[-1])).astype(np.float32)
    weights = random.normal(size=shape).astype(np.float32)  # of the outputs, in a sum

    reference = torch.nn.LayerNorm(shape[-1], eps=EPSILON, dtype=torch.float64)
    with torch.no_grad():
        reference.weight.copy_(torch.tensor(scale))
        reference.bias.copy_(torch.tensor(offset))
    given = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    expected = reference(given)
    (expected * torch.tensor(weights)).sum().backward()

    norm = hk.without_apply_rng(hk.transform(lambda x: layer_norm(x, "norm")))
    params = {"norm": {"scale": jnp.asarray(scale), "offset": jnp.asarray(offset)}}
    tolerance = {"rtol": 1e-5, "atol": 1e-5 * max(1.0, center)}
    np.testing.assert_allclose(norm.apply(params, x), expected.detach(), **tolerance)
    found = jax.grad(lambda params, x: (norm.apply(params, x) * weights).sum(), (0, 1))(params, x)
    np.testing.assert_allclose(found[1], given.grad, **tolerance)
    np.testing.assert_allclose(found[0]["norm"]["scale"], reference.weight.grad, **tolerance)
    np.testing.assert_allclose(found[0]["norm"]["offset"], reference.bias.grad, **tolerance)


def test_names_and_first_values_are_those_of_haiku():
    ours = hk.transform(lambda x: layer_norm(x, "norm"))
    haikus = hk.transform(lambda x: hk.LayerNorm(-1, True, True, name="norm")(x))
    x = jnp.ones((2, 3))
    first, second = ours.init(None, x), haikus.init(None, x)
    assert jax.tree.structure(first) == jax.tree.structure(second)
    for one, other in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_array_equal(one, other)
