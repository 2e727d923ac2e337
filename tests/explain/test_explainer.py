import jax
import numpy as np
import pytest

from vit_hk import inference
from vit_hk.errors import UserError
from vit_hk.explain.distance import attention_distance
from vit_hk.explain.entropy import attention_entropy
from vit_hk.explain.explainer import Explainer
from vit_hk.explain.head_statistics import head_statistics
from vit_hk.explain.methods import MethodInputs, attribution_maps
from vit_hk.explain.token_shares import token_shares
from vit_hk.inference import make_attention_gradient, run_model
from vit_hk.model.vit import make_model, parameter_shapes
from vit_hk.params import AttentionSettings, ModelSettings
from vit_hk.runtime import memory
from vit_hk.weights_metadata import WeightsInfo

SETTINGS = AttentionSettings(
    num_images=1, num_wrong=0, images=[], head_fusion="max", discard_ratio=0.3
)


@pytest.fixture(scope="module")
def info() -> WeightsInfo:
    """A model for images of 4 x 6 pixels in 2 channels: patches of 2, class token, a register."""
    model = ModelSettings(
        patch_size=2, stem="linear", hidden_size=8, num_layers=2, num_heads=2, mlp_dim=4,
        pool="cls", position="learned", dropout=0.0, drop_path=0.0, qk_norm=False, registers=1,
        gelu="erf", norm_eps=1e-6,
    )  # fmt: skip
    return WeightsInfo(
        preparation=None, model=model, data="toy", source="drawn", class_names=["a", "b", "c"],
        image_shape=[4, 6, 2], mean=[0.4, 0.5], std=[0.2, 0.3], seed=0, validation_fraction=0.5,
    )  # fmt: skip


@pytest.fixture(scope="module")
def model_and_weights(info):
    model = make_model(info.model, 3)
    random = np.random.default_rng(0)
    shapes = parameter_shapes(model, (4, 6, 2))
    weights = jax.tree.map(lambda x: random.normal(size=x.shape).astype(np.float32) / 2, shapes)
    return model, weights


IMAGES = np.random.default_rng(1).integers(0, 256, (5, 4, 6, 2), dtype=np.uint8)
CLASSES = np.array([0, 2, 1, 1, 0])


def test_attributions_in_chunks_are_those_of_one_pass(monkeypatch, info, model_and_weights):
    model, weights = model_and_weights
    attention_gradient = make_attention_gradient(model, info.normalization)
    output, gradient = attention_gradient(weights, IMAGES, CLASSES)
    attention = np.asarray(output.attention)
    inputs = MethodInputs(attention, np.asarray(gradient), "cls", "max", 0.3)
    maps = attribution_maps(inputs, 6)
    monkeypatch.setattr(inference, "CHUNK_BYTES", 2 * 1024)  # two images
    explainer = Explainer(model, weights, info, SETTINGS)
    attributions = explainer.explain(IMAGES, CLASSES)
    assert attributions.attention.shape == (2, 5, 2, 8, 8)
    assert attributions.attention.dtype == np.float32
    np.testing.assert_allclose(attributions.attention, attention, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(attributions.attention.sum(axis=-1), 1, rtol=1e-5)
    assert attributions.maps.shape == (4, 5, 6)
    np.testing.assert_allclose(attributions.maps, maps, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(explainer.maps(IMAGES, CLASSES), attributions.maps)


def test_attention_of_all_images_that_does_not_fit_is_refused(monkeypatch, info, model_and_weights):
    explainer = Explainer(*model_and_weights, info, SETTINGS)
    needed = 5 * 2 * 2 * 8 * 8 * 4  # 5 images, 2 layers, 2 heads, 8 x 8 tokens, float32
    monkeypatch.setattr(memory, "free_host_bytes", lambda: needed)
    assert explainer.explain(IMAGES, CLASSES).attention.nbytes == needed
    monkeypatch.setattr(memory, "free_host_bytes", lambda: needed - 1)
    with pytest.raises(MemoryError, match="are needed"):
        explainer.explain(IMAGES, CLASSES)


def test_an_image_whose_attention_and_gradient_do_not_fit_is_refused(
    monkeypatch, info, model_and_weights
):
    model, weights = model_and_weights
    needed = 2 * 2 * 2 * 8 * 8 * 4  # two arrays of 2 layers, 2 heads, 8 x 8 tokens, float32
    monkeypatch.setattr(memory, "free_bytes", lambda _: needed)
    Explainer(model, weights, info, SETTINGS)
    monkeypatch.setattr(memory, "free_bytes", lambda _: needed - 1)
    with pytest.raises(UserError, match=r"not enough memory .*; raise model\.patch_size, or"):
        Explainer(model, weights, info, SETTINGS)


def test_statistics_in_chunks_are_means_over_all_images(monkeypatch, info, model_and_weights):
    model, weights = model_and_weights
    run = jax.jit(lambda w, x: run_model(model, w, x, info.normalization).attention)
    attention = np.asarray(run(weights, IMAGES))
    monkeypatch.setattr(inference, "CHUNK_BYTES", 2 * 1024)  # two images
    statistics = head_statistics(model, weights, info, IMAGES)
    for mean, per_image in [
        (statistics.distance, attention_distance(attention, (2, 3), 2)),
        (statistics.entropy, attention_entropy(attention)),
        (statistics.token_shares, token_shares(attention, 6, "cls")),
    ]:
        np.testing.assert_allclose(mean, per_image.mean(axis=1), rtol=1e-5)
