import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax as scipy_softmax
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    f1_score,
    log_loss,
)
from sklearn.metrics import confusion_matrix as sklearn_confusion_matrix

from vit_hk.metrics import (
    balanced_accuracy_and_macro_f1,
    calibration_error,
    confusion_matrix,
    faithfulness_score,
    most_confident_mistakes,
    softmax,
    summarize,
    summarize_scaled,
)


@pytest.fixture
def logits() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 3, (200, 5)).astype(np.float32)


@pytest.fixture
def labels() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 5, 200)


def test_softmax_agrees_with_scipy(logits):
    probabilities = softmax(logits)
    assert probabilities.dtype == np.float64
    np.testing.assert_allclose(probabilities, scipy_softmax(logits.astype(float), axis=1))


def test_softmax_of_huge_logits_is_finite():
    probabilities = softmax(np.float32([[3e38, 0, -3e38], [-1e4, -1e4, -1e4]]))
    np.testing.assert_allclose(probabilities, [[1, 0, 0], [1 / 3, 1 / 3, 1 / 3]])


def test_summary_agrees_with_scikit_learn(logits, labels):
    summary = summarize(logits, labels)
    probabilities = scipy_softmax(logits.astype(float), axis=1)
    predictions = logits.argmax(axis=1)
    assert list(summary) == [
        "accuracy", "balanced_accuracy", "macro_f1", "error_count", "loss", "calibration_error",
        "examples",
    ]  # fmt: skip
    assert summary["accuracy"] == pytest.approx(accuracy_score(labels, predictions), abs=1e-6)
    assert summary["error_count"] == (labels != predictions).sum()
    assert summary["loss"] == pytest.approx(log_loss(labels, probabilities), abs=1e-6)
    assert summary["examples"] == 200


def test_scaled_summary_is_that_of_divided_logits(logits, labels):
    scaled = summarize_scaled(logits, labels, 2.5)
    probabilities = scipy_softmax(logits.astype(float) / 2.5, axis=1)
    assert scaled == {
        "temperature": 2.5,
        "loss": pytest.approx(log_loss(labels, probabilities), abs=1e-6),
        "calibration_error": pytest.approx(calibration_error(probabilities, labels), abs=1e-6),
    }
    assert scaled["loss"] < summarize(logits, labels)["loss"]  # these logits are far too sure


def test_summary_by_hand():
    # Two of three are right; the probabilities of the labels are 3/4, 3/4 and 1/4.
    logits = np.log(np.array([[3, 1], [1, 3], [3, 1]]) / 4)
    summary = summarize(logits, np.array([0, 1, 1]))
    loss = -(2 * np.log(3 / 4) + np.log(1 / 4)) / 3
    assert summary == {
        "accuracy": 0.666667,
        "balanced_accuracy": 0.75,  # recalls 1 and 1/2
        "macro_f1": 0.666667,  # each class: 2 · 1 / (1 + 2)
        "error_count": 1,
        "loss": pytest.approx(loss, abs=1e-6),
        "calibration_error": pytest.approx(3 / 4 - 2 / 3, abs=1e-6),
        "examples": 3,
    }


def test_balanced_accuracy_and_macro_f1_by_hand():
    # Class 0: 3 of 4 images found. Class 1: its image is missed. Class 2 has no image, is predicted
    # once. Class 3 is neither.
    labels, predictions = np.array([0, 0, 0, 0, 1]), np.array([0, 0, 0, 2, 0])
    balanced_accuracy, macro_f1 = balanced_accuracy_and_macro_f1(labels, predictions, 4)
    assert balanced_accuracy == pytest.approx((3 / 4 + 0) / 2)
    assert macro_f1 == pytest.approx((2 * 3 / (4 + 4) + 0 + 0) / 3)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(2, 8))
@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
@pytest.mark.filterwarnings("ignore:A single label was found")
def test_balanced_accuracy_and_macro_f1_agree_with_scikit_learn(seed, count, classes):
    labels, predictions = np.random.default_rng(seed).integers(0, classes, (2, count))
    expected = (
        balanced_accuracy_score(labels, predictions),
        f1_score(labels, predictions, average="macro", zero_division=0),
    )
    assert balanced_accuracy_and_macro_f1(labels, predictions, classes) == pytest.approx(expected)


def test_all_metrics_have_the_same_predictions():
    # In float64, both probabilities of these logits are 0.5.
    summary = summarize(np.float32([[0, 1e-20]]), np.array([1]))
    assert (summary["accuracy"], summary["error_count"]) == (1, 0)
    assert summary["balanced_accuracy"] == 1


def test_loss_of_a_mistake_with_confidence_1_is_finite():
    assert summarize(np.float32([[1000, 0]]), np.array([1]))["loss"] == 1000.0


def test_summary_holds_python_numbers():
    # json.dumps refuses numbers of NumPy.
    summary = summarize(np.float32([[1, 0]]), np.array([0]))
    assert {type(value) for value in summary.values()} == {int, float}


def probabilities_of(confidences: list[float], classes: int = 2) -> np.ndarray:
    """Return [images, classes], where class 0 has the confidence and the others share the rest."""
    first = np.array(confidences)[:, np.newaxis]
    return np.hstack([first, np.repeat((1 - first) / (classes - 1), classes - 1, axis=1)])


def test_calibration_error_of_perfect_calibration_is_0():
    # The confidence is 0.8, and 8 of 10 are right.
    labels = np.array([0] * 8 + [1] * 2)
    assert calibration_error(probabilities_of([0.8] * 10), labels) == pytest.approx(0)


def test_calibration_error_of_confident_mistakes_is_1():
    assert calibration_error(probabilities_of([1.0] * 7), np.ones(7, int)) == pytest.approx(1)


def test_calibration_error_of_confident_correct_predictions_is_0():
    assert calibration_error(probabilities_of([1.0] * 7), np.zeros(7, int)) == pytest.approx(0)


def test_calibration_error_by_hand():
    # Bins ((m - 1) / 15, m / 15]: 0.62 and 0.66 share bin 10, 0.9 lies in bin 14.
    probabilities = probabilities_of([0.62, 0.66, 0.9, 0.9])
    labels = np.array([0, 1, 0, 1])
    first = abs(1 / 2 - 0.64) * 2 / 4
    second = abs(1 / 2 - 0.9) * 2 / 4
    assert calibration_error(probabilities, labels) == pytest.approx(first + second)


def test_errors_of_opposite_sign_cancel_within_a_bin_only():
    right, wrong = 0, 1
    same = calibration_error(probabilities_of([0.61, 0.65]), np.array([right, wrong]))
    apart = calibration_error(probabilities_of([0.61, 0.99]), np.array([right, wrong]))
    assert same == pytest.approx(abs(1 - 0.61 - 0.65) / 2)
    assert apart == pytest.approx((0.39 + 0.99) / 2)


def test_upper_edge_belongs_to_its_bin():
    # 0.6 = 9/15 ends bin 9, 0.61 lies in bin 10: in different bins, their gaps do not cancel.
    probabilities = probabilities_of([0.6, 0.61])
    error = calibration_error(probabilities, np.array([0, 1]))
    assert error == pytest.approx((0.4 + 0.61) / 2)


def test_uniform_predictions_that_are_right_at_chance_are_calibrated():
    labels = np.array([0, 1, 2, 3])
    assert calibration_error(np.full((4, 4), 0.25), labels) == pytest.approx(0)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.integers(2, 6))
def test_calibration_error_agrees_with_its_definition(seed, count, classes):
    random = np.random.default_rng(seed)
    probabilities = random.dirichlet(np.ones(classes), count)
    labels = random.integers(0, classes, count)
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    expected = 0.0
    for m in range(15):
        inside = (confidence > m / 15) & (confidence <= (m + 1) / 15)
        if inside.any():
            gap = abs(right[inside].mean() - confidence[inside].mean())
            expected += inside.sum() / count * gap
    assert calibration_error(probabilities, labels) == pytest.approx(expected, abs=1e-9)


def test_confusion_matrix_agrees_with_scikit_learn(labels):
    predictions = np.random.default_rng(2).integers(0, 5, 200)
    counts = confusion_matrix(labels, predictions, 6)
    np.testing.assert_array_equal(
        counts, sklearn_confusion_matrix(labels, predictions, labels=range(6))
    )


def test_confusion_matrix_has_a_row_for_each_actual_class():
    counts = confusion_matrix(np.array([0, 0, 2]), np.array([1, 1, 2]), 3)
    np.testing.assert_array_equal(counts, [[0, 2, 0], [0, 0, 0], [0, 0, 1]])


def test_most_confident_mistakes_come_first():
    confidence = np.array([0.6, 0.9, 0.7, 0.8, 0.95])
    labels = np.array([1, 0, 1, 1, 0])
    mistakes = most_confident_mistakes(np.zeros(5, int), confidence, labels)
    assert mistakes.tolist() == [3, 2, 0]


def test_mistakes_of_equal_confidence_keep_their_order():
    confidence = np.array([0.9, 0.7, 0.8, 0.7] * 100)
    mistakes = most_confident_mistakes(np.zeros(400, int), confidence, np.ones(400, int))
    assert mistakes[:100].tolist() == list(range(0, 400, 4))
    assert mistakes[100:200].tolist() == list(range(2, 400, 4))
    assert mistakes[200:].tolist() == list(range(1, 400, 2))


def test_no_mistakes_give_no_indices():
    mistakes = most_confident_mistakes(np.array([1]), np.array([0.9]), np.array([1]))
    assert mistakes.tolist() == []


def test_faithfulness_score_of_known_areas():
    shares = np.array([0.0, 0.5, 1.0])
    # Below the insertion curves lie 1/2 and 3/4, below the deletion curves 1/2 and 1/4.
    insertion = np.array([[0.0, 0.5, 1.0], [0.0, 1.0, 1.0]])
    deletion = np.array([[1.0, 0.5, 0.0], [1.0, 0.0, 0.0]])
    assert faithfulness_score(shares, deletion, insertion) == pytest.approx([0.0, 0.5])
    assert faithfulness_score(shares, deletion[1], insertion[1]) == pytest.approx(0.5)
