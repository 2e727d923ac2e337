import jax
import numpy as np
import pytest

from vit_hk import inference
from vit_hk.data.normalization import Normalization
from vit_hk.inference import attention_chunks, build_predictor, make_predictor, run_model
from vit_hk.model import reference
from vit_hk.model.vit import make_model, parameter_shapes
from vit_hk.params import ModelSettings
from vit_hk.runtime import batch_layout, memory
from vit_hk.runtime.batch_layout import MicrobatchTokens, layout_for_inference
from vit_hk.weights_metadata import WeightsInfo

SHAPE = (8, 8, 2)
SETTINGS = ModelSettings(
    patch_size=4, stem="linear", hidden_size=16, num_layers=2, num_heads=2, mlp_dim=16,
    pool="cls", position="sincos2d", dropout=0.0, drop_path=0.0, qk_norm=False, registers=0,
    gelu="erf", norm_eps=1e-6,
)  # fmt: skip
NUM_TOKENS = 5  # 2 x 2 patches and the class token
NORMALIZATION = Normalization(mean=(0.2, 0.5), std=(0.3, 0.1))
INFO = WeightsInfo(
    model=SETTINGS, data="toy", source="drawn", class_names=list("abcd"), image_shape=list(SHAPE),
    preparation=None,
    mean=list(NORMALIZATION.mean), std=list(NORMALIZATION.std), seed=0, validation_fraction=0.5,
)  # fmt: skip
IMAGES = np.random.default_rng(1).integers(0, 256, (7, *SHAPE), dtype=np.uint8)


@pytest.fixture(scope="module")
def model():
    return make_model(SETTINGS, 4)


@pytest.fixture(scope="module")
def params(model):
    random = np.random.default_rng(0)
    shapes = parameter_shapes(model, SHAPE)
    return jax.tree.map(lambda x: random.normal(size=x.shape).astype(np.float32) / 3, shapes)


@pytest.fixture(scope="module")
def expected(params):
    """Return the output of the reference for images that NumPy normalizes."""
    normalized = ((IMAGES / 255 - NORMALIZATION.mean) / NORMALIZATION.std).astype(np.float32)
    return jax.jit(lambda p, x: reference.vit(p, x, SETTINGS))(params, normalized)


@pytest.fixture(scope="module")
def predict(model):
    """Return a predictor for batches of three images."""
    return make_predictor(
        model, NORMALIZATION, layout_for_inference(3, NUM_TOKENS, SETTINGS.hidden_size)
    )


@pytest.mark.parametrize(
    "count", [7, 6, 2], ids=["last batch is padded", "whole batches", "less than a batch"]
)
def test_predictions_equal_the_reference(predict, params, expected, count):
    logits = predict(params, IMAGES[:count])
    assert logits.shape == (count, 4)
    np.testing.assert_allclose(logits, expected.logits[:count], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("max_size", "microbatch_size"), [(1, 1), (3, 2)])  # of 4 images a device
def test_predictions_in_microbatches_equal_the_reference(
    monkeypatch, model, params, expected, max_size, microbatch_size
):
    tokens = MicrobatchTokens(max_size * NUM_TOKENS, wide=0)
    monkeypatch.setattr(batch_layout, "INFERENCE_TOKENS", tokens)
    layout = layout_for_inference(7, NUM_TOKENS, SETTINGS.hidden_size)
    assert layout.microbatch_size == microbatch_size
    logits = make_predictor(model, NORMALIZATION, layout)(params, IMAGES)
    np.testing.assert_allclose(logits, expected.logits, rtol=1e-5, atol=1e-5)


def test_run_model_equals_the_reference(model, params, expected):
    output = jax.jit(lambda p, x: run_model(model, p, x, NORMALIZATION))(params, IMAGES)
    for array, expected_array in zip(output, expected, strict=True):
        np.testing.assert_allclose(array, expected_array, rtol=1e-5, atol=1e-5)


def test_built_predictor_uses_the_normalization_of_the_weights(model, params, expected):
    logits = build_predictor(model, INFO, batch_size=3)(params, IMAGES)
    np.testing.assert_allclose(logits, expected.logits, rtol=1e-5, atol=1e-5)


def test_predictor_is_built_only_where_the_attention_of_a_batch_fits_in_memory(model, monkeypatch):
    # Attention weights of 6 images on two devices in one memory: float32 [2 heads, 5, 5] each.
    needed = 6 * 2 * 5 * 5 * 4
    monkeypatch.setattr(memory, "free_bytes", lambda _: needed)
    build_predictor(model, INFO, batch_size=6)
    monkeypatch.setattr(memory, "free_bytes", lambda _: needed - 1)
    with pytest.raises(MemoryError):
        build_predictor(model, INFO, batch_size=6)


@pytest.mark.parametrize(
    ("count", "images_per_chunk", "sizes"), [(5, 2, [2, 2, 1]), (4, 2, [2, 2]), (3, 100, [3])]
)
def test_attention_chunks_cover_all_images_within_the_limit(
    monkeypatch, count, images_per_chunk, sizes
):
    # 2 layers, 2 heads, 5 x 5 tokens, 4 bytes.
    monkeypatch.setattr(inference, "CHUNK_BYTES", images_per_chunk * 2 * 2 * 5 * 5 * 4 + 1)
    chunks = [np.arange(count)[chunk] for chunk in attention_chunks(count, SETTINGS, SHAPE)]
    assert [len(chunk) for chunk in chunks] == sizes
    assert np.concatenate(chunks).tolist() == list(range(count))


def test_attention_chunk_has_at_least_one_image(monkeypatch):
    monkeypatch.setattr(inference, "CHUNK_BYTES", 1)
    assert len(list(attention_chunks(3, SETTINGS, SHAPE))) == 3
