import numpy as np
import pytest

from vit_hk.errors import UserError
from vit_hk.explain.selection import (
    check_indices,
    choose_images,
    clearest_examples,
    mistakes_between_examples,
    spread,
)
from vit_hk.params import AttentionSettings


def wanted(num_images: int, num_wrong: int) -> AttentionSettings:
    return AttentionSettings(
        num_images=num_images, num_wrong=num_wrong, images=[], head_fusion="mean", discard_ratio=0.0
    )


def predictions(guesses: list[int], confidence: list[float], classes: int = 3) -> np.ndarray:
    probabilities = np.zeros((len(guesses), classes))
    for row, (guess, sure) in enumerate(zip(guesses, confidence, strict=True)):
        probabilities[row] = (1 - sure) / (classes - 1)
        probabilities[row, guess] = sure
    return probabilities


LABELS = np.array([0, 0, 0, 1, 1, 2, 2, 2])
#                 r  r  w  r  w  r  w  r
GUESSES = predictions([0, 0, 1, 1, 2, 2, 0, 2], [0.9, 0.8, 0.7, 0.9, 0.95, 0.6, 0.5, 0.8])


def test_mistakes_come_first_the_most_confident_ones():
    assert choose_images(wanted(3, 3), GUESSES, LABELS).tolist() == [4, 2, 6]
    assert choose_images(wanted(2, 2), GUESSES, LABELS).tolist() == [4, 2]


def test_right_ones_follow_with_the_classes_in_turn():
    # Right are 0 and 1 of class 0, 3 of class 1, 5 and 7 of class 2.
    assert choose_images(wanted(5, 0), GUESSES, LABELS).tolist() == [0, 3, 5, 1, 7]
    assert choose_images(wanted(4, 1), GUESSES, LABELS).tolist() == [4, 0, 3, 5]


def test_right_ones_fill_up_where_mistakes_are_too_few():
    labels = np.array([0, 1, 0, 1])
    probabilities = predictions([0, 1, 0, 0], [0.9, 0.9, 0.9, 0.9], classes=2)
    assert choose_images(wanted(4, 3), probabilities, labels).tolist() == [3, 0, 1, 2]


def test_mistakes_fill_up_where_right_ones_are_too_few():
    labels = np.array([0, 1, 0, 1])
    probabilities = predictions([1, 0, 0, 0], [0.7, 0.9, 0.9, 0.8], classes=2)
    assert choose_images(wanted(3, 1), probabilities, labels).tolist() == [1, 3, 2]


@pytest.mark.parametrize("right", [True, False])
def test_one_kind_alone_is_enough(right):
    labels = np.zeros(5, int)
    probabilities = predictions([0 if right else 1] * 5, [0.9] * 5)
    assert choose_images(wanted(3, 1), probabilities, labels).tolist() == [0, 1, 2]


def test_small_test_set_gives_all_of_its_images_once():
    chosen = choose_images(wanted(100, 4), GUESSES, LABELS)
    assert sorted(chosen) == list(range(8))
    assert chosen[:3].tolist() == [4, 2, 6]


def test_existing_images_may_be_chosen():
    check_indices([], 10)
    check_indices([0, 9], 10)


@pytest.mark.parametrize("index", [10, 11, 10**30])
def test_missing_image_is_named_with_the_allowed_ones(one_line, index):
    with pytest.raises(UserError) as caught:
        check_indices([3, index], 10)
    message = one_line(caught.value)
    assert f"attention.images holds {index}, the test set has 10 images" in message
    assert "allowed: 0 to 9" in message


def test_spread_takes_even_steps_from_the_first_to_the_last():
    assert spread(4, 10).tolist() == [0, 3, 6, 9]
    assert spread(1, 10).tolist() == [0]


def test_spread_takes_all_where_there_are_no_more():
    assert spread(10, 10).tolist() == list(range(10))
    assert spread(500, 3).tolist() == [0, 1, 2]


def test_clearest_examples_are_the_surest_right_ones_of_each_class():
    # Of class 0 images 0 (90 %) and 1 (80 %) are right, of class 1 only 3, of class 2 5 and 7.
    assert clearest_examples(GUESSES, LABELS).tolist() == [0, 3, 7]


def test_class_that_is_never_recognized_has_no_example():
    labels = np.array([0, 1, 1, 3])
    probabilities = predictions([0, 0, 1, 2], [0.9, 0.9, 0.5, 0.9], classes=4)
    assert clearest_examples(probabilities, labels).tolist() == [0, 2, -1, -1]


def test_a_mistake_stands_between_the_clearest_of_both_classes():
    # Image 2 is a 1 taken for 0, image 3 a 3 taken for 2, which no image is recognized as.
    labels = np.array([0, 1, 1, 3])
    probabilities = predictions([0, 1, 0, 2], [0.9, 0.8, 0.5, 0.9], classes=4)
    images, classes = mistakes_between_examples(np.arange(4), probabilities, labels, most=6)
    assert images.tolist() == [[1, 2, 2, 0], [-1, 3, 3, -1]]
    assert classes.tolist() == [[1, 1, 0, 0], [3, 3, 2, 2]]
    only_first = mistakes_between_examples(np.arange(4), probabilities, labels, most=1)
    assert [part.tolist() for part in only_first] == [[[1, 2, 2, 0]], [[1, 1, 0, 0]]]
    none = mistakes_between_examples(np.array([0, 1]), probabilities, labels, most=6)
    assert [part.shape for part in none] == [(0, 4), (0, 4)]
