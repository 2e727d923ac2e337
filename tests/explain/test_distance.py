import math

import numpy as np
import pytest

from vit_hk.explain.distance import attention_distance, patch_distances


def attending_to(targets: list[int], tokens: int) -> np.ndarray:
    """Attention of one layer, image and head, where query token n attends only to targets[n]."""
    return np.eye(tokens)[targets][np.newaxis, np.newaxis, np.newaxis]


def test_distances_of_a_grid_that_is_not_square():
    # Patches 0 1 2
    #         3 4 5, of 4 pixels a side
    distances = patch_distances((2, 3), 4)
    assert distances.shape == (6, 6)
    assert distances[0].tolist() == pytest.approx([0, 4, 8, 4, math.hypot(4, 4), math.hypot(4, 8)])
    np.testing.assert_array_equal(distances, distances.T)


def test_patches_that_attend_to_themselves_have_distance_0():
    assert attention_distance(attending_to([0, 1, 2, 3], 4), (2, 2), 7).item() == 0


def test_mean_over_the_query_patches():
    # In a row of 3, patch 0 attends 2 patches away, patch 1 one, patch 2 to itself.
    assert attention_distance(attending_to([2, 0, 2], 3), (1, 3), 5).item() == pytest.approx(
        (10 + 5 + 0) / 3
    )


def test_uniform_attention_has_the_mean_distance():
    uniform = np.full((1, 1, 1, 3, 3), 1 / 3)
    # From the ends (0 + 1 + 2) / 3 patches, from the middle (1 + 0 + 1) / 3.
    assert attention_distance(uniform, (3, 1), 6).item() == pytest.approx(6 * (1 + 2 / 3 + 1) / 3)


def test_class_token_and_registers_do_not_count():
    attention = np.zeros((1, 1, 1, 4, 4))
    attention[..., :2, :2] = 0.5  # class token and register attend to each other
    attention[..., 2, :] = [0.5, 0.2, 0.1, 0.2]  # of the 0.3 for patches, 2/3 are the other's
    attention[..., 3, :] = [0.0, 0.0, 0.0, 1.0]
    assert attention_distance(attention, (1, 2), 3).item() == pytest.approx(3 * (2 / 3) / 2)


def test_a_query_patch_that_attends_to_no_patch_has_distance_0():
    attention = np.zeros((1, 1, 1, 3, 3), np.float32)
    attention[..., 0] = 1
    assert attention_distance(attention, (1, 2), 3).item() == 0


def test_each_layer_image_and_head_is_independent():
    attention = np.random.default_rng(0).dirichlet(np.ones(5), (2, 3, 4, 5))
    distances = attention_distance(attention, (2, 2), 7)
    assert distances.shape == (2, 3, 4)
    for place in np.ndindex(2, 3, 4):
        alone = attention[place][np.newaxis, np.newaxis, np.newaxis]
        assert distances[place] == pytest.approx(attention_distance(alone, (2, 2), 7).item())
