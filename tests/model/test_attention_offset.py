"""The door through which the gradient with respect to the attention comes."""

import itertools

import jax
import numpy as np
import pytest

from vit_hk.inference import make_attention_gradient
from vit_hk.model.vit import make_model

MEAN, STD = [0.2, 0.5], [0.3, 0.4]
CASES = [("cls", 0, False), ("cls", 2, True), ("gap", 1, False)]


class Case:
    """A model on images of 6 x 4 pixels in two channels, 3 x 2 patches, and what it gives."""

    def __init__(self, settings, random_params, pool, registers, qk_norm):
        self.model = make_model(settings(pool=pool, registers=registers, qk_norm=qk_norm), 5)
        self.images = np.random.default_rng(0).integers(0, 256, (3, 6, 4, 2), dtype=np.uint8)
        self.scaled = ((self.images / 255 - MEAN) / STD).astype(np.float32)
        self.params = random_params(self.model, self.scaled, False)
        self.classes = np.array([4, 0, 2])
        self.before_patches = registers + (pool == "cls")
        self.pooled = [0] if pool == "cls" else range(registers, registers + 6)
        self.forward = jax.jit(lambda p, x, o: self.model.apply(p, None, x, False, o))
        self.plain = self.forward(self.params, self.scaled, None)
        explain = make_attention_gradient(self.model, MEAN, STD)
        self.output, self.gradient = explain(self.params, self.images, self.classes)


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0]}-{case[1]}", scope="module")
def case(request, settings, random_params):
    return Case(settings, random_params, *request.param)


def test_without_an_offset_nothing_is_computed_for_it(case):
    def jaxpr(*offset):
        return jax.make_jaxpr(lambda p, x, *o: case.model.apply(p, None, x, False, *o))(
            case.params, case.scaled, *offset
        )

    assert str(jaxpr(None)) == str(jaxpr())
    # With one, each layer takes its part and adds it.
    assert str(jaxpr(np.zeros_like(case.plain.attention))).count(" add ") == (
        str(jaxpr()).count(" add ") + 2
    )


def test_offset_is_added_to_the_weights_after_the_softmax(case):
    random = np.random.default_rng(0)
    offset = random.normal(size=case.plain.attention.shape).astype(np.float32)
    offset[1] = 0
    moved = case.forward(case.params, case.scaled, offset)
    np.testing.assert_allclose(
        moved.attention[0], case.plain.attention[0] + offset[0], rtol=1e-5, atol=1e-6
    )
    # What is mixed with the new weights reaches the second layer.
    assert np.abs(moved.attention[1] - case.plain.attention[1]).max() > 1e-3
    assert np.abs(moved.logits - case.plain.logits).max() > 1e-3


def test_gradient_equals_finite_differences_of_each_weight(case):
    shape = case.gradient.shape[:1] + case.gradient.shape[2:]  # [L, H, T, T], of an image alone
    with jax.enable_x64(True):
        exact = jax.tree.map(lambda x: np.asarray(x, np.float64), case.params)

        def logits(offset, image):
            offset = offset.reshape(shape)[:, np.newaxis]
            return case.model.apply(exact, None, image[np.newaxis], False, offset).logits[0]

        nudges = 1e-5 * np.eye(np.prod(shape))
        every = jax.jit(jax.vmap(logits, in_axes=(0, None)))
        for number, image in enumerate((case.images / 255 - MEAN) / STD):
            slope = (every(nudges, image) - every(-nudges, image)) / 2e-5
            expected = np.asarray(slope)[:, case.classes[number]].reshape(shape)
            assert np.abs(expected).max() > 0.01
            np.testing.assert_allclose(case.gradient[:, number], expected, rtol=2e-3, atol=2e-4)


def test_the_forward_pass_is_the_one_of_the_model(case):
    np.testing.assert_allclose(case.output.logits, case.plain.logits, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(case.output.attention, case.plain.attention, rtol=1e-5, atol=1e-6)


def test_in_the_last_layer_only_the_rows_that_are_pooled_count(case):
    for layer, row in itertools.product((0, 1), range(case.before_patches + 6)):
        moves = np.abs(case.gradient[layer, :, :, row]).max() > 0
        assert moves == (layer == 0 or row in case.pooled)
