import jax
import numpy as np
import pytest

from vit_hk import inference
from vit_hk.explain.distance import attention_distance
from vit_hk.explain.entropy import attention_entropy
from vit_hk.explain.methods import explain
from vit_hk.explain.token_shares import token_shares
from vit_hk.explanation import Explainer
from vit_hk.head_statistics import head_statistics
from vit_hk.inference import attention_chunks, make_attention_gradient, run_model
from vit_hk.model.vit import make_model, parameter_shapes
from vit_hk.params import AttentionSettings, ModelSettings
from vit_hk.weights import WeightsInfo

SETTINGS = AttentionSettings(
    num_images=1, num_wrong=0, images=[], head_fusion="max", discard_ratio=0.3
)


@pytest.fixture(scope="module")
def info() -> WeightsInfo:
    """Images of 4 x 6 pixels in 2 channels, in patches of 2; a class token and a register."""
    model = ModelSettings(
        patch_size=2, stem="linear", hidden_size=8, num_layers=2, num_heads=2, mlp_dim=4,
        pool="cls", position="learned", dropout=0.0, drop_path=0.0, qk_norm=False, registers=1,
    )  # fmt: skip
    return WeightsInfo(
        model=model, data="toy", source="drawn", class_names=["a", "b", "c"],
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


def test_grid_has_rows_and_columns_of_patches(info):
    assert info.grid == (2, 3)


@pytest.mark.parametrize(
    ("count", "images_at_a_time", "sizes"), [(5, 2, [2, 2, 1]), (4, 2, [2, 2]), (3, 100, [3])]
)
def test_chunks_cover_all_images_within_the_limit(
    monkeypatch, info, count, images_at_a_time, sizes
):
    # 2 layers, 2 heads, 8 x 8 tokens, 4 bytes.
    monkeypatch.setattr(inference, "CHUNK_BYTES", images_at_a_time * 2 * 2 * 8 * 8 * 4 + 1)
    chunks = [np.arange(count)[part] for part in attention_chunks(count, 6, info.model)]
    assert [len(chunk) for chunk in chunks] == sizes
    assert np.concatenate(chunks).tolist() == list(range(count))


def test_an_image_too_large_for_the_limit_comes_alone(monkeypatch, info):
    monkeypatch.setattr(inference, "CHUNK_BYTES", 1)
    assert len(list(attention_chunks(3, 6, info.model))) == 3


def test_maps_in_parts_are_those_of_all_at_once(monkeypatch, info, model_and_weights):
    model, weights = model_and_weights
    output, gradient = make_attention_gradient(model, info.mean, info.std)(weights, IMAGES, CLASSES)
    expected = explain(np.asarray(output.attention), np.asarray(gradient), 6, "cls", "max", 0.3)
    monkeypatch.setattr(inference, "CHUNK_BYTES", 2 * 1024)  # two images
    maps = Explainer(model, weights, info, SETTINGS).maps(IMAGES, CLASSES)
    assert maps.shape == (4, 5, 6)
    np.testing.assert_allclose(maps, expected, rtol=1e-4, atol=1e-6)


def test_statistics_in_parts_are_means_over_all_images(monkeypatch, info, model_and_weights):
    model, weights = model_and_weights
    run = jax.jit(lambda w, x: run_model(model, w, x, info.mean, info.std).attention)
    attention = np.asarray(run(weights, IMAGES))
    monkeypatch.setattr(inference, "CHUNK_BYTES", 2 * 1024)
    found = head_statistics(model, weights, info, IMAGES)
    for mean, every in [
        (found.distance, attention_distance(attention, (2, 3), 2)),
        (found.entropy, attention_entropy(attention)),
        (found.shares, token_shares(attention, 6, "cls")),
    ]:
        np.testing.assert_allclose(mean, every.mean(axis=1), rtol=1e-5)
