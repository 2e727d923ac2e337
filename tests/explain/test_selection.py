import numpy as np
import pytest

from vit_hk.errors import UserError
from vit_hk.explain.selection import (
    check_indices,
    choose_indices,
    evenly_spaced_indices,
    mistakes_between_examples,
    most_confident_example_indices,
)
from vit_hk.params import AttentionSettings


def settings(num_images: int, num_wrong: int) -> AttentionSettings:
    return AttentionSettings(
        num_images=num_images, num_wrong=num_wrong, images=[], head_fusion="mean", discard_ratio=0.0
    )


def probabilities_of(
    predicted: list[int], confidence: list[float], num_classes: int = 3
) -> np.ndarray:
    probabilities = np.zeros((len(predicted), num_classes))
    for row, (label, probability) in enumerate(zip(predicted, confidence, strict=True)):
        probabilities[row] = (1 - probability) / (num_classes - 1)
        probabilities[row, label] = probability
    return probabilities


LABELS = np.array([0, 0, 0, 1, 1, 2, 2, 2])
PREDICTED = [0, 0, 1, 1, 2, 2, 0, 2]  # images 2, 4 and 6 are mistakes
PROBABILITIES = probabilities_of(PREDICTED, [0.9, 0.8, 0.7, 0.9, 0.95, 0.6, 0.5, 0.8])


def test_the_most_confident_mistakes_are_first():
    assert choose_indices(settings(3, 3), PROBABILITIES, LABELS).tolist() == [4, 2, 6]
    assert choose_indices(settings(2, 2), PROBABILITIES, LABELS).tolist() == [4, 2]


def test_correct_predictions_of_alternating_classes_follow():
    # Correct are 0 and 1 of class 0, 3 of class 1, 5 and 7 of class 2.
    assert choose_indices(settings(5, 0), PROBABILITIES, LABELS).tolist() == [0, 3, 5, 1, 7]
    assert choose_indices(settings(4, 1), PROBABILITIES, LABELS).tolist() == [4, 0, 3, 5]


def test_correct_predictions_fill_the_rest_where_mistakes_are_too_few():
    labels = np.array([0, 1, 0, 1])
    probabilities = probabilities_of([0, 1, 0, 0], [0.9, 0.9, 0.9, 0.9], num_classes=2)
    assert choose_indices(settings(4, 3), probabilities, labels).tolist() == [3, 0, 1, 2]


def test_mistakes_fill_the_rest_where_correct_predictions_are_too_few():
    labels = np.array([0, 1, 0, 1])
    probabilities = probabilities_of([1, 0, 0, 0], [0.7, 0.9, 0.9, 0.8], num_classes=2)
    assert choose_indices(settings(3, 1), probabilities, labels).tolist() == [1, 3, 2]


@pytest.mark.parametrize("correct", [True, False])
def test_only_mistakes_or_only_correct_predictions(correct):
    labels = np.zeros(5, int)
    probabilities = probabilities_of([0 if correct else 1] * 5, [0.9] * 5)
    assert choose_indices(settings(3, 1), probabilities, labels).tolist() == [0, 1, 2]


def test_a_small_test_set_is_chosen_completely():
    chosen = choose_indices(settings(100, 4), PROBABILITIES, LABELS)
    assert sorted(chosen) == list(range(8))
    assert chosen[:3].tolist() == [4, 2, 6]


def test_existing_indices_are_accepted():
    check_indices([], 10)
    check_indices([0, 9], 10)


@pytest.mark.parametrize("index", [10, 11, 10**30])
def test_index_out_of_range_is_rejected_with_the_allowed_range(one_line, index):
    with pytest.raises(UserError) as caught:
        check_indices([3, index], 10)
    message = one_line(caught.value)
    assert f"attention.images holds {index}, the test set has 10 images" in message
    assert "allowed: 0 to 9" in message


def test_evenly_spaced_indices_include_the_first_and_the_last():
    assert evenly_spaced_indices(4, 10).tolist() == [0, 3, 6, 9]
    assert evenly_spaced_indices(1, 10).tolist() == [0]


def test_evenly_spaced_indices_are_all_indices_where_there_are_no_more():
    assert evenly_spaced_indices(10, 10).tolist() == list(range(10))
    assert evenly_spaced_indices(500, 3).tolist() == [0, 1, 2]


def test_most_confident_examples_are_correct_and_of_each_class():
    # Correct are images 0 (90 %) and 1 (80 %) of class 0, 3 of class 1, 5 and 7 of class 2.
    assert most_confident_example_indices(PROBABILITIES, LABELS).tolist() == [0, 3, 7]


def test_a_class_without_correct_predictions_has_no_example():
    labels = np.array([0, 1, 1, 3])
    probabilities = probabilities_of([0, 0, 1, 2], [0.9, 0.9, 0.5, 0.9], num_classes=4)
    assert most_confident_example_indices(probabilities, labels).tolist() == [0, 2, -1, -1]


def test_a_mistake_is_between_the_examples_of_both_classes():
    # Image 2 is a 1 predicted as 0, image 3 a 3 predicted as 2; neither 2 nor 3 has an example.
    labels = np.array([0, 1, 1, 3])
    probabilities = probabilities_of([0, 1, 0, 2], [0.9, 0.8, 0.5, 0.9], num_classes=4)
    images, classes = mistakes_between_examples(np.arange(4), probabilities, labels, max_mistakes=6)
    assert images.tolist() == [[1, 2, 2, 0], [-1, 3, 3, -1]]
    assert classes.tolist() == [[1, 1, 0, 0], [3, 3, 2, 2]]
    only_one = mistakes_between_examples(np.arange(4), probabilities, labels, max_mistakes=1)
    assert [part.tolist() for part in only_one] == [[[1, 2, 2, 0]], [[1, 1, 0, 0]]]
    none = mistakes_between_examples(np.array([0, 1]), probabilities, labels, max_mistakes=6)
    assert [part.shape for part in none] == [(0, 4), (0, 4)]
