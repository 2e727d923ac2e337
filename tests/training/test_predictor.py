import jax
import numpy as np
import pytest

from vit_hk import division
from vit_hk.division import divide_for_prediction
from vit_hk.inference import make_predictor, run_model
from vit_hk.model.vit import make_model
from vit_hk.training.loop import init_params

MEAN, STD = [0.2, 0.5], [0.3, 0.1]
TOKENS = 5  # 2 x 2 patches and the class token


@pytest.fixture(scope="module")
def model_and_params(make_params):
    settings = make_params()
    params = init_params(settings, (8, 8, 2), 4)
    random = np.random.default_rng(0)
    params["vit/head"]["w"] = random.normal(size=(16, 4)).astype(np.float32)
    return make_model(settings.model, 4), params


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(1).integers(0, 256, (7, 8, 8, 2), dtype=np.uint8)


@pytest.fixture(scope="module")
def expected(model_and_params, images):
    """Logits of one image at a time, scaled by hand."""
    model, params = model_and_params
    forward = jax.jit(lambda x: model.apply(params, None, x, is_training=False).logits[0])
    scaled = ((images / 255 - MEAN) / STD).astype(np.float32)
    return np.stack([forward(image[np.newaxis]) for image in scaled])


@pytest.mark.parametrize(
    ("count", "batch"),
    [(7, 3), (6, 3), (2, 5)],
    ids=["remainder", "multiple", "fewer than a batch"],
)
def test_logits_are_those_of_each_image_alone(model_and_params, images, expected, count, batch):
    model, params = model_and_params
    logits = make_predictor(model, MEAN, STD, divide_for_prediction(batch, TOKENS))(
        params, images[:count]
    )
    assert logits.shape == (count, 4)
    np.testing.assert_allclose(logits, expected[:count], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("at_a_time", [5, 10, 15], ids=lambda tokens: f"{tokens // 5} images")
def test_a_batch_in_pieces_gives_the_same(
    monkeypatch, model_and_params, images, expected, at_a_time
):
    monkeypatch.setattr(division, "TOKENS_OF_PREDICTION", at_a_time)
    model, params = model_and_params
    logits = make_predictor(model, MEAN, STD, divide_for_prediction(7, TOKENS))(params, images)
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5)


def test_run_model_gives_the_same_logits_and_attention(model_and_params, images, expected):
    model, params = model_and_params
    output = jax.jit(lambda p, x: run_model(model, p, x, MEAN, STD))(params, images)
    np.testing.assert_allclose(output.logits, expected, rtol=1e-5, atol=1e-5)
    assert output.attention.shape == (1, 7, 2, 5, 5)
