"""The calibration of a model of real digits: on digits, on letters, and on photos."""

import string
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont
from sklearn.datasets import load_sample_images

from stages.train import describe_weights
from vit_hk.data.dataset import Dataset
from vit_hk.data.sources.offline_sample import offline_sample
from vit_hk.metrics import summarize
from vit_hk.trained_model import TrainedModel
from vit_hk.training.data import prepare_data
from vit_hk.training.fit_calibration import calibrate
from vit_hk.training.loop import train
from vit_hk.weights import Weights


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return offline_sample()


@pytest.fixture(scope="module")
def model(digits, make_config) -> TrainedModel:
    config = make_config(
        {"patch_size": 7, "hidden_size": 32, "mlp_dim": 64, "num_layers": 2, "num_heads": 4,
         "position": "learned"},
        augment={"shift": 1}, epochs=12, batch_size=24, learning_rate=0.005,
        validation_fraction=0.2,
    )  # fmt: skip
    data = prepare_data(digits, config)
    weights = train(config, data, 10).params
    calibration = calibrate(config, weights, data, 10)
    return TrainedModel(Weights(weights, describe_weights(config, digits, data), calibration))


def letters(alphabet: str) -> np.ndarray:
    """Return letters in white on black in the fonts of matplotlib, uint8 [letters, 28, 28]."""
    folder = Path(matplotlib.get_data_path(), "fonts/ttf")
    fonts = [ImageFont.truetype(folder / f"DejaVu{name}.ttf", 22) for name in ("Sans", "Serif")]
    images = []
    for font in fonts:
        for letter in alphabet:
            image = Image.new("L", (28, 28))
            ImageDraw.Draw(image).text((14, 14), letter, font=font, fill=255, anchor="mm")
            images.append(np.asarray(image))
    return np.stack(images)


def photos() -> list[Image.Image]:
    """Return 96 parts of two photos, in colours."""
    pictures = [Image.fromarray(picture) for picture in load_sample_images().images]  # 640 x 427
    return [
        picture.crop((x, y, x + 80, y + 70))
        for picture in pictures
        for x in range(0, 640, 80)
        for y in range(0, 420, 70)
    ]


def test_digits_are_familiar(model, digits):
    predictions = model.predict(digits.x_test)
    assert (predictions.classes == digits.y_test).mean() > 0.9
    assert not predictions.is_inverted.any()
    assert predictions.is_unfamiliar.mean() < 0.03  # 0.01 of the validation images


def test_digits_on_white_paper_are_read_as_those_on_black(model, digits):
    on_white, on_black = model.predict(255 - digits.x_test), model.predict(digits.x_test)
    assert on_white.is_inverted.all()
    np.testing.assert_array_equal(on_white.probabilities, on_black.probabilities)


def test_photos_are_less_familiar_and_few_look_inverted(model, digits):
    # A model of all 54,000 digits finds all of these photos unfamiliar; see docs/predict.md.
    predictions = model.predict(photos())
    usual = model.predict(digits.x_test)
    assert predictions.is_unfamiliar.mean() > 2 * usual.is_unfamiliar.mean()
    assert np.median(predictions.distances) > np.quantile(usual.distances, 0.75)
    assert predictions.is_inverted.mean() < 0.1


@pytest.mark.parametrize("alphabet", [string.ascii_lowercase, string.ascii_uppercase])
def test_letters_are_less_familiar_than_digits(model, digits, alphabet):
    predictions = model.predict(letters(alphabet))
    usual = model.predict(digits.x_test)
    # Some letters look like digits: o, l, B, I, O, S, Z.
    assert predictions.is_unfamiliar.mean() > 2 * usual.is_unfamiliar.mean()
    assert np.median(predictions.distances) > np.quantile(usual.distances, 0.75)


def test_temperature_hardly_raises_the_loss_of_images_that_were_not_fitted(model, digits):
    predictions = model.predict(digits.x_test)
    calibrated = summarize(np.log(predictions.probabilities), digits.y_test)
    temperature = float(model._calibration.temperature)
    raw = summarize(temperature * np.log(predictions.probabilities), digits.y_test)
    assert calibrated["loss"] <= raw["loss"] + 0.01
