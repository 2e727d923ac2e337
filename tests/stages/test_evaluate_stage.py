import json

import numpy as np
import pandas as pd
import pytest
from folder_content import folder_content
from safetensors import safe_open
from safetensors.numpy import save_file
from sklearn.metrics import precision_recall_fscore_support

from vit_hk.model import reference
from vit_hk.params import load_config
from vit_hk.weights import load_weights, read_weights

NAMES = ["left", "middle", "right"]


@pytest.fixture(scope="module")
def metrics(finished) -> dict:
    return json.loads((finished[0] / "results" / "metrics.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def predictions(finished) -> pd.DataFrame:
    return pd.read_csv(finished[0] / "results" / "predictions.csv")


def test_evaluation_succeeds(finished):
    ended = finished[1]["evaluate"]
    assert ended.code == 0, ended.err
    assert ended.err == ""
    assert ended.out.startswith("results/metrics.json: ")


def numbers(tree: dict) -> list[float]:
    return [
        number
        for value in tree.values()
        for number in (numbers(value) if isinstance(value, dict) else [value])
        if isinstance(number, int | float)
    ]


def test_metrics_have_exactly_these_keys(metrics):
    keys = {
        key: sorted(value) if isinstance(value, dict) else value for key, value in metrics.items()
    }
    assert keys == {
        "data": "mnist",
        "source": "NPZ file: made for a test",
        "test": [
            "accuracy", "balanced_accuracy", "calibration_error", "error_count", "examples", "loss",
            "macro_f1",
        ],
        "temperature_scaled": ["calibration_error", "loss", "temperature"],
        "validation": ["accuracy", "examples", "loss"],
        "corruptions": ["impulse_noise", "mean", "translate"],
        "faithfulness": [
            "brightness", "gradient_rollout", "last_layer", "random", "relevance", "rollout",
        ],
    }  # fmt: skip
    assert len(numbers(metrics)) <= 24


def test_each_test_image_has_one_row_in_order(metrics, predictions, tiny_dataset):
    assert metrics["test"]["examples"] == len(predictions) == len(tiny_dataset.y_test) == 18
    assert metrics["validation"]["examples"] == 12
    assert predictions["index"].tolist() == list(range(18))
    assert predictions["actual"].tolist() == [NAMES[label] for label in tiny_dataset.y_test]
    assert set(predictions["predicted"]) <= set(NAMES)
    # The highest of three probabilities.
    assert predictions["probability"].between(0.333, 1).all()


def test_metrics_agree_with_the_predictions(metrics, predictions):
    wrong = (predictions["actual"] != predictions["predicted"]).sum()
    assert metrics["test"]["error_count"] == wrong
    assert metrics["test"]["accuracy"] == pytest.approx(1 - wrong / 18, abs=1e-6)
    # Three test labels are wrong on purpose.
    assert 3 <= wrong <= 6


def test_validation_agrees_with_the_last_epoch_of_training(finished, metrics):
    last = pd.read_csv(finished[0] / "results" / "history.csv").iloc[-1]
    assert metrics["validation"]["accuracy"] == pytest.approx(last["validation_accuracy"], abs=1e-5)
    assert metrics["validation"]["loss"] == pytest.approx(last["validation_loss"], rel=1e-4)


def test_table_of_classes_agrees_with_scikit_learn(finished, predictions):
    table = pd.read_csv(finished[0] / "results" / "per_class.csv")
    expected = precision_recall_fscore_support(
        predictions["actual"], predictions["predicted"], labels=NAMES, zero_division=0
    )
    assert table["class"].tolist() == NAMES
    for name, values in zip(["precision", "recall", "f1", "support"], expected, strict=True):
        np.testing.assert_allclose(table[name], values, atol=1e-6)


def test_faithfulness_is_the_area_between_the_curves(finished, metrics):
    table = pd.read_csv(finished[0] / "results" / "faithfulness.csv")
    # 2 x 3 patches are deleted in 6 steps.
    shares = table["share"].to_numpy().reshape(6, 7)
    np.testing.assert_allclose(shares, np.tile(np.arange(7) / 6, (6, 1)), atol=1e-6)
    for method, curve in table.groupby("method"):
        score = np.trapezoid(curve["insertion"] - curve["deletion"], curve["share"])
        assert metrics["faithfulness"][method] == pytest.approx(score, abs=1e-4)
        # Probabilities of 3 or 4 images lie between 0 and 1, and so their errors below 1 / 2.
        errors = curve.filter(like="_error").to_numpy()
        assert ((errors >= 0) & (errors <= 0.5)).all()
        assert curve["score_error"].nunique() == 1
        assert curve["deletion_error"].iloc[-1] == curve["insertion_error"].iloc[0]


def test_all_curves_start_and_end_at_the_same_images(finished):
    curves = pd.read_csv(finished[0] / "results" / "faithfulness.csv")
    first, last = curves[curves["share"] == 0], curves[curves["share"] == 1]
    whole = pd.concat([first["deletion"], last["insertion"]])
    empty = pd.concat([last["deletion"], first["insertion"]])
    assert len(whole) == len(empty) == 12
    assert np.ptp(whole) < 1e-5
    assert np.ptp(empty) < 1e-5
    assert whole.iloc[0] > empty.iloc[0]


def test_curves_are_probabilities_of_the_predicted_classes(finished, predictions, tiny_dataset):
    measured = predictions.iloc[[0, 6, 11, 17]]  # a fifth of 18 images, evenly spaced
    assert (measured["predicted"] != measured["actual"]).any()
    curve = pd.read_csv(finished[0] / "results" / "faithfulness.csv")["deletion"].iloc[:7]
    assert curve.iloc[0] == pytest.approx(measured["probability"].mean(), abs=1e-5)

    # In the end the mean training image is left of each image.
    model = load_config(finished[0] / "params.yaml").model
    path = finished[0] / "models" / "vit.safetensors"
    weights, info, _ = load_weights(path, model, tiny_dataset)
    mean_image = tiny_dataset.x_train.mean(axis=0, keepdims=True).round().astype(np.uint8)
    logits = reference.vit(weights, info.normalization(mean_image), model).logits[0]
    probabilities = np.exp(logits) / np.exp(logits).sum()
    classes = [NAMES.index(name) for name in measured["predicted"]]
    assert curve.iloc[-1] == pytest.approx(probabilities[classes].mean(), abs=1e-5)


def test_temperature_is_that_of_the_weights(finished, metrics):
    scaled = metrics["temperature_scaled"]
    calibration = read_weights(finished[0] / "models" / "vit.safetensors").calibration
    assert scaled["temperature"] == pytest.approx(float(calibration.temperature), abs=1e-6)
    assert (scaled["loss"] != metrics["test"]["loss"]) == (scaled["temperature"] != 1)


def test_corruptions_are_measured_on_a_share_of_the_test_images(finished, metrics):
    table = pd.read_csv(finished[0] / "results" / "corruptions.csv")
    assert table["corruption"].unique().tolist() == ["translate", "impulse_noise"]
    assert (table["examples"] == 9).all()  # half of 18
    # Each accuracy is a number of images.
    np.testing.assert_allclose(table["accuracy"] * 9, (table["accuracy"] * 9).round(), atol=1e-4)
    means = table[table["severity"] > 0].groupby("corruption")["accuracy"].mean()
    for name, mean in means.items():
        assert metrics["corruptions"][name] == pytest.approx(mean, abs=1e-5)
    assert metrics["corruptions"]["mean"] == pytest.approx(means.mean(), abs=1e-5)


def test_results_do_not_depend_on_the_images_that_are_drawn(here, copy, edit):
    # Of the section attention, dvc.yaml lists only head_fusion and discard_ratio for this stage.
    names = (
        "metrics.json", "per_class.csv", "predictions.csv", "faithfulness.csv", "corruptions.csv",
    )  # fmt: skip
    files = [copy / "results" / name for name in names]
    before = [path.read_bytes() for path in files]
    edit(attention__num_images=1, attention__num_wrong=0, attention__images=[3])
    ended = here("evaluate", copy)
    assert ended.code == 0, ended.err
    assert [path.read_bytes() for path in files] == before


def test_missing_weights_are_named(here, refused, copy):
    (copy / "models" / "vit.safetensors").unlink()
    line = refused(here, "evaluate", copy)
    assert "models/vit.safetensors is not there; make it with: dvc repro train" in line


def test_damaged_weights_are_named(here, refused, copy):
    path = copy / "models" / "vit.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    line = refused(here, "evaluate", copy)
    assert "models/vit.safetensors is not a weights file of this project" in line


def test_logits_that_are_not_finite_are_refused(here, refused, copy):
    path = copy / "models" / "vit.safetensors"
    before = folder_content(copy / "results")
    with safe_open(path, "np") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = file.metadata()
    tensors["vit/head/w"] = np.full_like(tensors["vit/head/w"], 3e38)
    save_file(tensors, path, metadata)
    line = refused(here, "evaluate", copy)
    assert "models/vit.safetensors: the logits of test images are not finite" in line
    assert folder_content(copy / "results") == before


def test_missing_data_set_is_named(here, refused, copy):
    (copy / "data" / "dataset.npz").unlink()
    assert "data/dataset.npz is not there" in refused(here, "evaluate", copy)


def test_wrong_setting_is_named(here, refused, copy, edit):
    edit(evaluate__batch_size=0)
    assert "params.yaml: evaluate.batch_size is 0; allowed: " in refused(here, "evaluate", copy)
