import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from vit_hk.kernels.layer_norm import EPSILON
from vit_hk.model.layer_norm import layer_norm


@pytest.mark.parametrize("shape", [(5, 7), (2, 3, 4, 16), (3, 1)], ids=str)
@pytest.mark.parametrize("mean", [0.0, 100.0])
@pytest.mark.parametrize("kernels", ["0", "1"])
def test_outputs_and_gradients_equal_torch(monkeypatch, shape, mean, kernels):
    monkeypatch.setenv("VIT_HK_KERNELS", kernels)
    random = np.random.default_rng(0)
    x = random.normal(mean, size=shape).astype(np.float32)
    scale, offset = random.normal(size=(2, shape[-1])).astype(np.float32)
    cotangent = random.normal(size=shape).astype(np.float32)

    torch_norm = torch.nn.LayerNorm(shape[-1], eps=EPSILON, dtype=torch.float64)
    with torch.no_grad():
        torch_norm.weight.copy_(torch.tensor(scale))
        torch_norm.bias.copy_(torch.tensor(offset))
    torch_x = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    expected = torch_norm(torch_x)
    expected.backward(torch.tensor(cotangent, dtype=torch.float64))

    transformed = hk.without_apply_rng(hk.transform(lambda x: layer_norm(x, EPSILON, "norm")))
    params = {"norm": {"scale": jnp.asarray(scale), "offset": jnp.asarray(offset)}}
    tolerance = {"rtol": 1e-5, "atol": 1e-5 * max(1.0, mean)}
    output, backward = jax.vjp(transformed.apply, params, x)
    d_params, d_x = backward(cotangent)
    np.testing.assert_allclose(output, expected.detach(), **tolerance)
    np.testing.assert_allclose(d_x, torch_x.grad, **tolerance)
    np.testing.assert_allclose(d_params["norm"]["scale"], torch_norm.weight.grad, **tolerance)
    np.testing.assert_allclose(d_params["norm"]["offset"], torch_norm.bias.grad, **tolerance)


def test_parameter_names_and_initial_values_equal_haiku():
    transformed = hk.transform(lambda x: layer_norm(x, EPSILON, "norm"))
    haiku_norm = hk.transform(lambda x: hk.LayerNorm(-1, True, True, name="norm")(x))
    x = jnp.ones((2, 3))
    params, expected = transformed.init(None, x), haiku_norm.init(None, x)
    assert jax.tree.structure(params) == jax.tree.structure(expected)
    for array, expected_array in zip(*map(jax.tree.leaves, (params, expected)), strict=True):
        np.testing.assert_array_equal(array, expected_array)
