import os
import subprocess
import sys

import jax
import numpy as np
import pytest
from PIL import Image
from scipy.spatial.distance import mahalanobis
from scipy.special import softmax
from small_model import CLASSES, INFO, MODEL, random_calibration, random_images, random_params
from small_model import save_small_model as save

import vit_hk
from vit_hk import inference
from vit_hk.errors import UserError
from vit_hk.model import reference
from vit_hk.process_limits import usable_cores
from vit_hk.runtime import memory
from vit_hk.trained_model import TrainedModel

IMAGES = random_images(5)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return save(tmp_path_factory.mktemp("models") / "vit.safetensors")


@pytest.fixture(scope="module")
def model(path) -> TrainedModel:
    return vit_hk.load(path)


@pytest.fixture(scope="module")
def expected():
    """Return the output of the reference for images that NumPy normalizes."""
    normalized = ((IMAGES[..., np.newaxis] / 255 - INFO.mean) / INFO.std).astype(np.float32)
    output = jax.jit(lambda p, x: reference.vit(p, x, MODEL))(random_params(), normalized)
    return jax.tree.map(np.asarray, output)


def test_probabilities_are_those_of_the_reference_at_the_temperature(model, expected):
    predictions = model.predict(IMAGES)
    assert predictions.probabilities.dtype == np.float64
    scaled = softmax(expected.logits.astype(np.float64) / 2.5, axis=1)
    np.testing.assert_allclose(predictions.probabilities, scaled, atol=1e-4)
    assert predictions.classes.tolist() == expected.logits.argmax(axis=1).tolist()
    assert predictions.names == [CLASSES[c] for c in predictions.classes]
    assert len(set(predictions.names)) > 1


def test_distances_are_those_of_scipy(model, expected):
    statistics = random_calibration()
    inverse = statistics.whitening.astype(float) @ statistics.whitening.T
    distances = [
        min(mahalanobis(x, mean, inverse) for mean in statistics.class_means)
        for x in expected.features
    ]
    predictions = model.predict(IMAGES)
    np.testing.assert_allclose(predictions.distances, distances, rtol=1e-3)
    assert predictions.is_unfamiliar.tolist() == (np.array(distances) > 9.0).tolist()
    assert len(set(predictions.is_unfamiliar.tolist())) == 2  # the threshold is between them


@pytest.mark.parametrize("images_per_chunk", [2, 100])
def test_attention_is_that_of_the_reference(monkeypatch, model, expected, images_per_chunk):
    monkeypatch.setattr(inference, "CHUNK_BYTES", images_per_chunk * 4 * 2 * 2 * 8 * 8)
    attention = model.attention(IMAGES)
    assert attention.dtype == np.float32
    assert attention.shape == (2, 5, 2, 8, 8)  # 6 patches, a class token, a register
    np.testing.assert_allclose(attention, expected.attention, atol=1e-5)


def test_attention_of_all_images_that_does_not_fit_is_refused(monkeypatch, model):
    needed = 5 * 2 * 2 * 8 * 8 * 4  # 5 images, 2 layers, 2 heads, 8 x 8 tokens, float32
    monkeypatch.setattr(memory, "free_host_bytes", lambda: needed)
    assert model.attention(IMAGES).nbytes == needed
    monkeypatch.setattr(memory, "free_host_bytes", lambda: needed - 1)
    with pytest.raises(MemoryError, match="are needed"):
        model.attention(IMAGES)


def test_any_number_of_images_gives_the_same(model):
    together = model.predict(IMAGES).probabilities
    for part in (slice(0, 1), slice(1, 3), slice(3, 5)):
        probabilities = model.predict(IMAGES[part]).probabilities
        np.testing.assert_allclose(probabilities, together[part], atol=1e-6)


def test_files_and_pillow_images_are_the_same_as_arrays(model, tmp_path):
    picture = Image.fromarray(IMAGES[0])
    picture.save(tmp_path / "a.png")
    whole = model.predict(IMAGES[0])
    for images in (tmp_path / "a.png", str(tmp_path / "a.png"), picture, [picture], [IMAGES[0]]):
        np.testing.assert_array_equal(model.predict(images).images, whole.images)
    mixed = model.predict([tmp_path / "a.png", IMAGES[1], picture])
    np.testing.assert_array_equal(mixed.images[..., 0], IMAGES[[0, 1, 0]])


def test_images_on_white_are_inverted_where_asked_for_or_by_themselves(model):
    on_white = np.concatenate([255 - IMAGES[:1], IMAGES[1:2]])
    auto = model.predict(on_white)
    assert auto.is_inverted.tolist() == [True, False]
    np.testing.assert_array_equal(auto.images[..., 0], IMAGES[:2])
    assert model.predict(on_white, invert="yes").is_inverted.tolist() == [True, True]
    as_is = model.predict(on_white, invert="no")
    assert as_is.is_inverted.tolist() == [False, False]
    np.testing.assert_array_equal(as_is.images[..., 0], on_white)
    np.testing.assert_array_equal(model.attention(on_white), model.attention(IMAGES[:2]))


def test_ink_on_nothing_is_white_on_black_whatever_its_colour(model):
    ink = IMAGES[0]
    for level, inverted in ((0, True), (255, False)):
        drawn = Image.fromarray(np.dstack([np.full_like(ink, level)] * 3 + [ink]), "RGBA")
        predictions = model.predict(drawn)
        assert predictions.is_inverted.tolist() == [inverted]
        np.testing.assert_allclose(predictions.images[0, ..., 0].astype(int), ink, atol=1)
        chosen = model.predict(drawn, invert="yes" if inverted else "no")
        np.testing.assert_array_equal(chosen.images, predictions.images)


def test_white_on_black_within_a_transparent_margin_stays(model):
    height, width = IMAGES[0].shape
    drawn = np.zeros((height, width, 4), np.uint8)
    drawn[1:-1, 1:-1, 3] = 255
    drawn[3:5, 3:6, :3] = 255
    predictions = model.predict(Image.fromarray(drawn, "RGBA"))
    assert not predictions.is_inverted.any()
    np.testing.assert_array_equal(predictions.images[0, ..., 0], drawn[..., 0])


def test_images_may_come_one_after_the_other(model):
    whole = model.predict(list(IMAGES))
    np.testing.assert_array_equal(model.predict(iter(IMAGES)).images, whole.images)
    np.testing.assert_array_equal(model.attention(iter(IMAGES)), model.attention(IMAGES))


@pytest.mark.parametrize("invert", [True, "Yes", None])
@pytest.mark.parametrize("method", ["predict", "attention"])
def test_another_way_to_invert_is_refused(model, one_line, method, invert):
    with pytest.raises(UserError, match="allowed: 'auto', 'yes', 'no'") as caught:
        getattr(model, method)(IMAGES, invert=invert)
    assert repr(invert) in one_line(caught.value)


def test_weights_without_statistics_predict_with_temperature_1(tmp_path, expected):
    model = vit_hk.load(save(tmp_path / "vit.safetensors", calibrated=False))
    predictions = model.predict(255 - IMAGES)
    assert not predictions.is_inverted.any()
    assert np.isnan(predictions.distances).all()
    assert not predictions.is_unfamiliar.any()
    predictions = model.predict(IMAGES)
    np.testing.assert_allclose(predictions.probabilities, softmax(expected.logits, 1), atol=1e-4)


def test_weights_that_do_not_say_how_images_were_prepared_crop_them(path, tmp_path):
    info = INFO.model_copy(update={"preparation": None})
    model = vit_hk.load(save(tmp_path / "vit.safetensors", info))
    picture = np.full((8, 20), 255, np.uint8)
    picture[:, 4:16] = IMAGES[0]
    predictions = model.predict(Image.fromarray(picture))
    np.testing.assert_array_equal(predictions.images[0, ..., 0], IMAGES[0])
    padded = vit_hk.load(path).predict(Image.fromarray(picture))
    assert (padded.images[0, 0] == 0).all()


@pytest.mark.parametrize("method", ["predict", "attention"])
def test_array_of_another_shape_is_refused_in_one_line(model, one_line, method):
    with pytest.raises(UserError) as caught:
        getattr(model, method)(np.zeros((2, 28, 28), np.uint8))
    assert "images are uint8 [2, 28, 28]; allowed: uint8 [N, 8, 12]" in one_line(caught.value)


def test_missing_weights_are_named(tmp_path, one_line):
    with pytest.raises(UserError) as caught:
        vit_hk.load(tmp_path / "none.safetensors")
    assert "none.safetensors is not there; name a weights file" in one_line(caught.value)


def test_import_is_light_and_load_configures_jax(path, project):
    code = (
        "import sys, vit_hk\n"
        "assert 'jax' not in sys.modules and 'numpy' not in sys.modules\n"
        "model = vit_hk.load(sys.argv[1])\n"
        "import jax\n"
        "print(jax.device_count())\n"
        "vit_hk.load(sys.argv[1])\n"  # JAX runs by now
    )
    environment = {key: text for key, text in os.environ.items() if key != "JAX_NUM_CPU_DEVICES"}
    run = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        cwd=project, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert run.stdout == f"{usable_cores()}\n"


def test_other_names_are_no_attributes():
    with pytest.raises(AttributeError, match="has no attribute 'lode'"):
        _ = vit_hk.lode
