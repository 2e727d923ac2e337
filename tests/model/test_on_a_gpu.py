"""What the model computes in another way on a GPU, here with a CPU that stands for one."""

import jax
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxpr import operations

from vit_hk.model.vit import make_model

IMAGES = np.random.default_rng(0).normal(size=(3, 6, 4, 1)).astype(np.float32)
LOGIT_WEIGHTS = np.random.default_rng(1).normal(size=(3, 5)).astype(np.float32)


def test_the_same_logits_and_gradients_without_copies_and_without_products_for_means(
    settings, random_params, monkeypatch
):
    monkeypatch.setenv("VIT_HK_KERNELS", "0")  # which a GPU cannot run
    model = make_model(settings(pool="gap", qk_norm=True, num_layers=1), 5)
    params = random_params(model, IMAGES)

    def run():
        def loss(params):
            return (model.apply(params, IMAGES).logits * LOGIT_WEIGHTS).sum()

        found = operations(jax.grad(loss), params)
        copies = [op for op in found if op.primitive.name == "optimization_barrier"]
        products = [op for op in found if op.primitive.name == "dot_general"]
        means = [op for op in products if op.invars[1].aval.shape[-1:] == (1,)]
        loss_value, gradient = jax.jit(jax.value_and_grad(loss))(params)
        return len(copies), len(means), loss_value, ravel_pytree(gradient)[0]

    copies, means, expected_loss, expected_gradient = run()
    assert copies > 0
    assert means > 0
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    copies, means, loss, gradient = run()
    assert copies == means == 0
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-5)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-4, atol=1e-4)
