"""Results that do not belong to the settings and the data are refused in one line."""

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic_results import write_results

from stages import paths
from vit_hk.data.dataset import Dataset, load_dataset
from vit_hk.errors import UserError
from vit_hk.params import ModelSettings, load_config
from vit_hk.report.attention_arrays import read_attention_arrays
from vit_hk.report.attention_moments import read_attention_moments
from vit_hk.report.corruptions import read_corruptions
from vit_hk.report.faithfulness import read_faithfulness
from vit_hk.report.history import read_history
from vit_hk.report.predictions import read_predictions
from vit_hk.report.snapshots import read_snapshots


@pytest.fixture
def folder(tree, tmp_path) -> Path:
    return write_results(tmp_path, tree)


@pytest.fixture
def dataset(folder) -> Dataset:
    return load_dataset(folder / paths.DATASET)


@pytest.fixture
def model(folder) -> ModelSettings:
    return load_config(folder / "params.yaml").model


@pytest.fixture
def change_arrays() -> Callable[..., None]:
    """Replace arrays of an NPZ file."""

    def change(path: Path, **arrays: np.ndarray) -> None:
        with np.load(path) as file:
            content = dict(file)
        np.savez(path, **content | arrays)

    return change


def refusal(one_line, read: Callable[[], object]) -> str:
    with pytest.raises(UserError) as caught:
        read()
    return one_line(caught.value)


def test_predictions_are_numbers_of_classes(folder, dataset):
    predictions = read_predictions(folder / paths.PREDICTIONS, dataset)
    wrong = np.arange(60) % 5 == 0
    np.testing.assert_array_equal(predictions.classes, (dataset.y_test + wrong) % 3)
    np.testing.assert_allclose(predictions.confidence, np.linspace(0.5, 1, 60), atol=1e-6)


@pytest.mark.parametrize(
    ("column", "value", "problem"),
    [
        ("index", 7, "not one row for each test image"),
        ("actual", "right", "not the classes of the test images"),
        ("predicted", "unknown", "class 'unknown', which the data set does not have"),
        ("probability", 1.5, "a probability that is not between 0 and 1"),
        ("probability", "nan", "column probability holds a number that is not finite"),
    ],
)
def test_predictions_for_other_images_are_refused(
    folder, dataset, one_line, column, value, problem
):
    path = folder / paths.PREDICTIONS
    table = pd.read_csv(path, dtype=str)
    table.loc[0, column] = str(value)
    table.to_csv(path, index=False)
    text = refusal(one_line, lambda: read_predictions(path, dataset))
    assert problem in text
    assert "dvc repro --force --single-item evaluate" in text


def test_predictions_for_some_images_only_are_refused(folder, dataset, one_line):
    path = folder / paths.PREDICTIONS
    pd.read_csv(path).head(59).to_csv(path, index=False)
    text = refusal(one_line, lambda: read_predictions(path, dataset))
    assert "not one row for each test image" in text


def test_faithfulness_without_a_method_is_refused(folder, one_line):
    path = folder / paths.FAITHFULNESS
    table = pd.read_csv(path)
    table[table["method"] != "rollout"].to_csv(path, index=False)
    text = refusal(one_line, lambda: read_faithfulness(path, 6))
    assert "not the 7 points of the method rollout for 6 patches" in text


def test_tables_that_end_at_any_row_or_belong_to_other_settings_are_refused(folder, one_line):
    readers = {
        paths.HISTORY: (read_history, 2, 3),
        paths.FAITHFULNESS: (read_faithfulness, 6, 12),
        paths.CORRUPTIONS: (read_corruptions, ["translate", "impulse_noise"], ["translate"]),
    }
    for name, (read, right, other) in readers.items():
        path = folder / name
        table = read(path, right)
        assert f"{path} is damaged" in refusal(one_line, functools.partial(read, path, other))
        lines = path.read_text("utf-8").splitlines(keepends=True)
        assert len(lines) == len(table) + 1
        for count in range(len(lines)):
            path.write_text("".join(lines[:count]), "utf-8")
            assert f"{path} is damaged" in refusal(one_line, functools.partial(read, path, right))


@pytest.mark.parametrize(
    ("column", "value", "problem"),
    [
        (
            "corruption",
            "fog",
            "it holds the corruptions ['fog', 'translate', 'impulse_noise'], the settings ['",
        ),
        ("severity", 3, "translate must have the severities 0 to 4, in order"),
        ("accuracy", np.inf, "column accuracy holds a number that is not finite"),
    ],
)
def test_corruptions_that_no_evaluation_writes_are_refused(
    folder, one_line, column, value, problem
):
    path = folder / paths.CORRUPTIONS
    names = ["translate", "impulse_noise"]
    assert len(read_corruptions(path, names)) == 10
    table = pd.read_csv(path)
    table.loc[0, column] = value
    table.to_csv(path, index=False)
    assert problem in refusal(one_line, lambda: read_corruptions(path, names))


def test_snapshots_are_the_recorded_ones(folder, model, dataset):
    snapshots = read_snapshots(folder / paths.SNAPSHOTS, model, dataset)
    assert snapshots.epochs.tolist() == [1, 2]
    np.testing.assert_array_equal(snapshots.images, dataset.x_train[:2])


@pytest.mark.parametrize(
    ("name", "array", "problem"),
    [
        ("images", np.zeros((2, 8, 12, 1), np.uint8), "images are not those of the data set"),
        ("labels", np.array([1, 0]), "images are not those of the data set"),
        ("labels", np.array([0.0, 1.0]), "array labels is float64 [2]"),
        ("epochs", np.zeros((1, 2), int), "array epochs is int64 [1, 2]"),
        ("attention", np.zeros((2, 2, 2, 2, 7)), "imply shape [2, 2, 2, 2, 6]"),
        ("probabilities", np.full((2, 2, 3), np.nan), "probabilities holds a number that is not"),
    ],
)
def test_snapshots_of_other_settings_or_data_are_refused(
    folder, model, dataset, one_line, change_arrays, name, array, problem
):
    path = folder / paths.SNAPSHOTS
    change_arrays(path, **{name: array})
    text = refusal(one_line, lambda: read_snapshots(path, model, dataset))
    assert problem in text
    assert "dvc repro --force --single-item train" in text


@pytest.mark.parametrize(
    ("path", "read"),
    [
        (paths.SNAPSHOTS, read_snapshots),
        (paths.ATTENTION_ARRAYS, read_attention_arrays),
        (paths.MEAN_ATTENTION, read_attention_moments),
    ],
    ids=["snapshots", "attention", "mean attention"],
)
def test_arrays_that_unpack_to_more_than_their_file_are_refused(
    folder, model, dataset, one_line, path, read
):
    with np.load(folder / path) as file:
        content = dict(file)
    np.savez_compressed(folder / path, **content)
    assert "a compressed array" in refusal(one_line, lambda: read(folder / path, model, dataset))


def test_empty_snapshots_are_refused(folder, model, dataset, one_line, change_arrays):
    path = folder / paths.SNAPSHOTS
    with np.load(path) as file:
        attention, probabilities = file["attention"], file["probabilities"]
    change_arrays(
        path, attention=attention[:0], probabilities=probabilities[:0], epochs=np.zeros(0, int)
    )
    assert "no snapshots" in refusal(one_line, lambda: read_snapshots(path, model, dataset))


@pytest.mark.parametrize(
    ("name", "array", "problem"),
    [
        ("images", np.zeros((4, 8, 12, 1), np.uint8), "images are not those of the data set"),
        ("labels", np.array([2, 2, 2, 2]), "labels are not those of the data set"),
        ("indices", np.array([0, 1, 2, 60]), "images are not those of the data set"),
        ("indices", np.arange(4.0), "array indices is float64 [4]"),
        ("methods", np.array("rollout"), "array methods is <U7 []"),
        ("methods", np.array(["rollout", "flow"] * 2), "attribution method 'flow' is unknown"),
        ("maps", np.zeros((4, 4, 7)), "imply shape [4, 4, 6]"),
    ],
)
def test_attention_of_other_settings_or_data_is_refused(
    folder, model, dataset, one_line, change_arrays, name, array, problem
):
    path = folder / paths.ATTENTION_ARRAYS
    change_arrays(path, **{name: array})
    text = refusal(one_line, lambda: read_attention_arrays(path, model, dataset))
    assert problem in text
    assert "dvc repro --force --single-item attention" in text


@pytest.mark.parametrize(
    ("name", "array", "problem"),
    [
        ("count", np.array(59), "not of all test images of the data set"),
        ("mean", np.zeros((2, 2, 5), np.float32), "imply shape [2, 2, 6]"),
        ("mean_square", np.full((2, 2, 6), -1.0), "a negative weight"),
    ],
)
def test_mean_attention_of_other_settings_or_data_is_refused(
    folder, model, dataset, one_line, change_arrays, name, array, problem
):
    path = folder / paths.MEAN_ATTENTION
    change_arrays(path, **{name: array})
    assert problem in refusal(one_line, lambda: read_attention_moments(path, model, dataset))
