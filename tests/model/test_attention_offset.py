"""The offset of the attention weights, and the gradient with respect to the attention."""

import itertools

import jax
import numpy as np
import pytest

from vit_hk.data.normalization import Normalization
from vit_hk.inference import make_attention_gradient
from vit_hk.model.vit import make_model

MEAN, STD = (0.2, 0.5), (0.3, 0.4)
CASES = [("cls", 0, False), ("cls", 2, True), ("gap", 1, False)]


class Case:
    """A model and the results for images of 6 x 4 pixels and 2 channels, with 3 x 2 patches."""

    def __init__(self, settings, random_params, pool, registers, qk_norm):
        self.model = make_model(settings(pool=pool, registers=registers, qk_norm=qk_norm), 5)
        self.images = np.random.default_rng(0).integers(0, 256, (3, 6, 4, 2), dtype=np.uint8)
        self.scaled = ((self.images / 255 - MEAN) / STD).astype(np.float32)
        self.params = random_params(self.model, self.scaled)
        self.classes = np.array([4, 0, 2])
        self.first_patch = registers + (pool == "cls")
        self.pooled = [0] if pool == "cls" else range(registers, registers + 6)
        self.forward = jax.jit(lambda p, x, o: self.model.apply(p, x, None, o))
        self.expected = self.forward(self.params, self.scaled, None)
        attention_gradient = make_attention_gradient(self.model, Normalization(MEAN, STD))
        self.output, self.gradient = attention_gradient(self.params, self.images, self.classes)


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0]}-{case[1]}", scope="module")
def case(request, settings, random_params):
    return Case(settings, random_params, *request.param)


def test_without_an_offset_nothing_is_computed_for_it(case, monkeypatch):
    def jaxpr(*offset):
        return jax.make_jaxpr(lambda p, x, *o: case.model.apply(p, x, None, *o))(
            case.params, case.scaled, *offset
        )

    assert str(jaxpr(None)) == str(jaxpr())
    # Without kernels, each of the two layers has one more addition with an offset.
    monkeypatch.setenv("VIT_HK_KERNELS", "0")
    assert str(jaxpr(np.zeros_like(case.expected.attention))).count(" add ") == (
        str(jaxpr()).count(" add ") + 2
    )


def test_offset_is_added_to_the_weights_after_the_softmax(case):
    random = np.random.default_rng(0)
    offset = random.normal(size=case.expected.attention.shape).astype(np.float32)
    offset[1] = 0
    output = case.forward(case.params, case.scaled, offset)
    np.testing.assert_allclose(
        output.attention[0], case.expected.attention[0] + offset[0], rtol=1e-5, atol=1e-6
    )
    # The values are mixed with the changed weights, so the second layer changes as well.
    assert np.abs(output.attention[1] - case.expected.attention[1]).max() > 1e-3
    assert np.abs(output.logits - case.expected.logits).max() > 1e-3


def test_gradient_equals_finite_differences_of_each_weight(case):
    shape = case.gradient.shape[:1] + case.gradient.shape[2:]  # [L, H, T, T], of one image
    with jax.enable_x64(True):
        exact = jax.tree.map(lambda x: np.asarray(x, np.float64), case.params)

        def logits(offset, image):
            offset = offset.reshape(shape)[:, np.newaxis]
            return case.model.apply(exact, image[np.newaxis], None, offset).logits[0]

        steps = 1e-5 * np.eye(np.prod(shape))
        each_logits = jax.jit(jax.vmap(logits, in_axes=(0, None)))
        for index, image in enumerate((case.images / 255 - MEAN) / STD):
            difference = each_logits(steps, image) - each_logits(-steps, image)
            expected = np.asarray(difference / 2e-5)[:, case.classes[index]].reshape(shape)
            assert np.abs(expected).max() > 0.01
            np.testing.assert_allclose(case.gradient[:, index], expected, rtol=2e-3, atol=2e-4)


def test_attention_gradient_also_returns_the_output_of_the_model(case):
    np.testing.assert_allclose(case.output.logits, case.expected.logits, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(case.output.attention, case.expected.attention, rtol=1e-5, atol=1e-6)


def test_in_the_last_layer_only_the_pooled_queries_have_a_gradient(case):
    for layer, query in itertools.product((0, 1), range(case.first_patch + 6)):
        has_gradient = np.abs(case.gradient[layer, :, :, query]).max() > 0
        assert has_gradient == (layer == 0 or query in case.pooled)
