"""Mixed precision: what is computed in bfloat16, what is not, and how far the results differ."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree
from jaxpr import operations

from vit_hk.model.vit import make_model, parameter_shapes

ROUNDING = 2.0**-8  # between neighbouring numbers of bfloat16, relative
TOKENS, CLASSES = 7, 5
VARIANTS = [{}, {"pool": "gap", "qk_norm": True, "registers": 1}]
LABELS = np.array([0, 3, 4, 1])


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).normal(size=(4, 6, 4, 1)).astype(np.float32)  # 3 x 2 patches


def make_loss(model, images):
    def loss(params):
        output = model.apply(params, None, images, is_training=True)
        loss = optax.softmax_cross_entropy_with_integer_labels(output.logits, LABELS).mean()
        return loss, output

    return loss


def dtypes(values):
    return {str(value.aval.dtype) for value in values}


def shapes(values):
    return [value.aval.shape for value in values]


@pytest.mark.parametrize("changes", VARIANTS, ids=["cls", "gap"])
def test_products_are_bfloat16_and_statistics_and_softmax_float32(
    settings, random_params, images, changes
):
    model = make_model(settings(**changes), CLASSES, "bfloat16")
    params = random_params(model, images, False)
    found = operations(
        jax.grad(make_loss(model, images), has_aux=True), params
    )  # forward and backward
    products = [op for op in found if op.primitive.name == "dot_general"]
    means = [op for op in products if shapes(op.invars)[1][-1:] == (1,)]  # of LayerNorm
    assert dtypes(value for op in means for value in [*op.invars, *op.outvars]) == {"float32"}
    head = [op for op in products if any(CLASSES in shape for shape in shapes(op.invars))]
    assert len(head) == 3  # logits, gradients of the weights and of the features
    others = [op for op in products if op not in means and op not in head]
    assert len(others) > 3 * 2 * 6  # two blocks of six products, each with two gradients; patches
    assert dtypes(value for op in others for value in [*op.invars, *op.outvars]) == {"bfloat16"}
    deviations = [op for op in found if op.primitive.name == "rsqrt"]
    weights = [op for op in found if shapes(op.outvars)[0][-1:] == (TOKENS,)]
    softmax = [op for op in weights if op.primitive.name in ("exp", "div", "sub")]
    assert deviations
    assert softmax
    assert dtypes(value for op in deviations + softmax for value in op.invars) == {"float32"}


def test_float32_computes_as_if_there_were_no_other_precision(settings, images):
    def traced(*precision):
        model = make_model(settings(qk_norm=True), CLASSES, *precision)
        params = parameter_shapes(model, images.shape[1:])
        return str(jax.make_jaxpr(jax.grad(make_loss(model, images), has_aux=True))(params))

    before = traced()
    assert "bf16" not in before
    assert "bf16" in traced("bfloat16")
    assert traced("float32") == before  # also after another precision


def test_results_differ_by_rounding_alone(settings, random_params, images):
    s = settings(qk_norm=True, registers=1)
    full, mixed = (make_model(s, CLASSES, precision) for precision in ("float32", "bfloat16"))
    params = random_params(full, images, False)
    (_, exact), exact_slopes = run(full, params, images)
    (_, rounded), slopes = run(mixed, params, images)
    for found, wanted in zip(rounded, exact, strict=True):
        assert found.dtype == jnp.float32
        assert 0 < distance(found, wanted) < 4 * ROUNDING
    found, wanted = (ravel_pytree(tree)[0] for tree in (slopes, exact_slopes))
    assert found.dtype == jnp.float32
    assert 0 < distance(found, wanted) < 8 * ROUNDING


def run(model, params, images):
    """Loss, output, and the gradient of the loss."""
    return jax.jit(jax.value_and_grad(make_loss(model, images), has_aux=True))(params)


def distance(found, wanted):
    """Relative, in the Euclidean norm."""
    return jnp.linalg.norm((found - wanted).ravel()) / jnp.linalg.norm(wanted.ravel())


def test_initial_weights_are_the_same_float32_numbers(settings, images):
    key, s = jax.random.key(0), settings(qk_norm=True)
    models = [make_model(s, CLASSES, precision) for precision in ("float32", "bfloat16")]
    inits = jax.jit(lambda: [model.init(key, images, False) for model in models])()
    for first, second in zip(*map(jax.tree.leaves, inits), strict=True):
        assert second.dtype == jnp.float32
        np.testing.assert_array_equal(first, second)
