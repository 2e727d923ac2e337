import numpy as np
from sklearn.model_selection import StratifiedShuffleSplit

from vit_hk.data.splits import stratified_split


def test_split_holds_out_its_share_of_each_class():
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1, 2, 7], [100, 40, 10, 3]))
    kept, held_out = stratified_split(labels, 0.2, seed=0)
    values, counts = np.unique(labels[held_out], return_counts=True)
    assert dict(zip(values, counts, strict=True)) == {0: 20, 1: 8, 2: 2, 7: 1}
    assert len(kept) == 153 - 31
    np.testing.assert_array_equal(np.sort(np.concatenate([kept, held_out])), np.arange(153))
    assert (np.diff(kept) > 0).all()
    assert (np.diff(held_out) > 0).all()


def test_counts_equal_scikit_learn():
    labels = np.random.default_rng(1).permutation(np.repeat(np.arange(10), 50))
    _, held_out = stratified_split(labels, 0.1, seed=0)
    shuffle = StratifiedShuffleSplit(1, test_size=0.1, random_state=0)
    _, expected = next(shuffle.split(labels, labels))
    np.testing.assert_array_equal(np.bincount(labels[held_out]), np.bincount(labels[expected]))


def test_at_least_one_image_of_each_class_is_held_out():
    labels = np.repeat([0, 1], [1000, 2])
    _, held_out = stratified_split(labels, 0.01, seed=0)
    np.testing.assert_array_equal(np.bincount(labels[held_out]), [10, 1])


def test_split_depends_on_the_seed():
    labels = np.arange(300) % 3
    first, second, other = (stratified_split(labels, 0.3, seed) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first[1], second[1])
    np.testing.assert_array_equal(first[0], second[0])
    assert not np.array_equal(first[1], other[1])


def test_images_of_a_class_are_chosen_at_random():
    _, held_out = stratified_split(np.zeros(1000, int), 0.5, seed=0)
    # About half of them come from the first half; 32 are four standard deviations.
    assert abs((held_out < 500).sum() - 250) < 32
