import math

import numpy as np
import pytest

from vit_hk.explain.distance import attention_distance, patch_distances


def looking_at(targets: list[int], tokens: int) -> np.ndarray:
    """One layer, image and head where token n looks only at targets[n]."""
    return np.eye(tokens)[targets][np.newaxis, np.newaxis, np.newaxis]


def test_distances_of_a_grid_that_is_not_square():
    # Patches 0 1 2
    #         3 4 5, of 4 pixels a side
    distances = patch_distances((2, 3), 4)
    assert distances.shape == (6, 6)
    assert distances[0].tolist() == pytest.approx([0, 4, 8, 4, math.hypot(4, 4), math.hypot(4, 8)])
    np.testing.assert_array_equal(distances, distances.T)


def test_patches_that_look_at_themselves_reach_nowhere():
    assert attention_distance(looking_at([0, 1, 2, 3], 4), (2, 2), 7).item() == 0


def test_mean_over_the_patches_that_look():
    # In a row of 3, patch 0 looks 2 patches far, patch 1 one, patch 2 none.
    assert attention_distance(looking_at([2, 0, 2], 3), (1, 3), 5).item() == pytest.approx(
        (10 + 5 + 0) / 3
    )


def test_even_attention_reaches_the_mean_distance():
    even = np.full((1, 1, 1, 3, 3), 1 / 3)
    # From the ends (0 + 1 + 2) / 3 patches, from the middle (1 + 0 + 1) / 3.
    assert attention_distance(even, (3, 1), 6).item() == pytest.approx(6 * (1 + 2 / 3 + 1) / 3)


def test_class_token_and_registers_do_not_count():
    attention = np.zeros((1, 1, 1, 4, 4))
    attention[..., :2, :2] = 0.5  # class token and register look at each other
    attention[..., 2, :] = [0.5, 0.2, 0.1, 0.2]  # of 0.3 for patches, two thirds go to the other
    attention[..., 3, :] = [0.0, 0.0, 0.0, 1.0]
    assert attention_distance(attention, (1, 2), 3).item() == pytest.approx(3 * (2 / 3) / 2)


def test_a_patch_that_looks_at_no_patch_counts_as_0():
    attention = np.zeros((1, 1, 1, 3, 3), np.float32)
    attention[..., 0] = 1
    assert attention_distance(attention, (1, 2), 3).item() == 0


def test_each_layer_image_and_head_stands_for_itself():
    attention = np.random.default_rng(0).dirichlet(np.ones(5), (2, 3, 4, 5))
    distances = attention_distance(attention, (2, 2), 7)
    assert distances.shape == (2, 3, 4)
    for place in np.ndindex(2, 3, 4):
        alone = attention[place][np.newaxis, np.newaxis, np.newaxis]
        assert distances[place] == pytest.approx(attention_distance(alone, (2, 2), 7).item())
