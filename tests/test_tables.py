import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax as scipy_softmax
from sklearn.metrics import precision_recall_fscore_support

from vit_hk.tables import per_class_table, predictions_table


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(2, 8))
def test_per_class_table_agrees_with_scikit_learn(seed, count, classes):
    # Few examples of many classes, so that some classes have none or are never predicted.
    random = np.random.default_rng(seed)
    labels, predictions = random.integers(0, classes, (2, count))
    names = [f"class {n}" for n in range(classes)]
    table = per_class_table(labels, predictions, names)
    expected = precision_recall_fscore_support(
        labels, predictions, labels=range(classes), zero_division=0
    )
    assert list(table.columns) == ["class", "precision", "recall", "f1", "support"]
    assert table["class"].tolist() == names
    for name, values in zip(table.columns[1:], expected, strict=True):
        np.testing.assert_allclose(table[name], values, atol=1e-6)


def test_per_class_table_by_hand():
    labels, predictions = np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1])
    table = per_class_table(labels, predictions, ["a", "b", "never"])
    assert table.to_dict("list") == {
        "class": ["a", "b", "never"],
        "precision": [1.0, 0.5, 0.0],
        "recall": [0.666667, 1.0, 0.0],
        "f1": [0.8, 0.666667, 0.0],
        "support": [3, 1, 0],
    }


def test_predictions_table_by_hand():
    logits = np.log(np.float32([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6], [0.5, 0.25, 0.25]]))
    table = predictions_table(np.array([0, 1, 2]), logits, ["a", "b", "c"])
    assert table.to_dict("list") == {
        "index": [0, 1, 2],
        "actual": ["a", "b", "c"],
        "predicted": ["a", "c", "a"],
        "probability": [0.7, 0.6, 0.5],
    }


def test_predictions_table_agrees_with_scipy():
    random = np.random.default_rng(0)
    logits = random.normal(0, 3, (200, 5)).astype(np.float32)
    labels = random.integers(0, 5, 200)
    names = [f"class {n}" for n in range(5)]
    table = predictions_table(labels, logits, names)
    probabilities = scipy_softmax(logits.astype(float), axis=1)
    assert table["actual"].tolist() == [names[n] for n in labels]
    assert table["predicted"].tolist() == [names[n] for n in probabilities.argmax(axis=1)]
    np.testing.assert_allclose(table["probability"], probabilities.max(axis=1), atol=1e-6)
