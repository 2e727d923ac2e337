import numpy as np
import pytest

from vit_hk.explain.rollout import attention_rollout, discard_smallest, residual_rollout

# Two layers of two heads over two tokens, for one image.
ATTENTION = np.array(
    [
        [[[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [0.0, 1.0]]],
        [[[0.2, 0.8], [0.6, 0.4]], [[0.2, 0.8], [0.6, 0.4]]],
    ]
)[:, np.newaxis]


@pytest.mark.parametrize(
    ("fusion", "expected"),
    [
        # Layer 2 with its residual is [[.6, .4], [.3, .7]] in all cases. Layer 1:
        # mean [[.5, .5], [0, 1]] -> [[.75, .25], [0, 1]]
        ("mean", [[0.45, 0.55], [0.225, 0.775]]),
        # max [[1, 1], [0, 1]] -> [[1, .5], [0, 1]], rows scaled [[2/3, 1/3], [0, 1]]
        ("max", [[0.4, 0.6], [0.2, 0.8]]),
        # min [[0, 0], [0, 1]] -> [[.5, 0], [0, 1]], rows scaled [[1, 0], [0, 1]]
        ("min", [[0.6, 0.4], [0.3, 0.7]]),
    ],
)
def test_rollout_of_two_known_layers(fusion, expected):
    (rollout,) = attention_rollout(ATTENTION, "gap", fusion)
    np.testing.assert_allclose(rollout, expected, rtol=1e-12)


FUSED = np.array([[0.5, 0.3, 0.2], [0.1, 0.6, 0.3], [0.05, 0.15, 0.8]])[np.newaxis, np.newaxis]


def test_the_smallest_weights_are_discarded_except_for_the_class_token():
    # Half of the 6 candidates: .15, .2 and the first .3. In the first column, .05 and .1 stay.
    result = discard_smallest(FUSED, 0.5, "cls")
    np.testing.assert_array_equal(result[0, 0], [[0.5, 0, 0], [0.1, 0.6, 0.3], [0.05, 0, 0.8]])


def test_without_a_class_token_every_weight_is_a_candidate():
    # 3 of 9, rounded down from 3.6: .05, .1 and .15.
    result = discard_smallest(FUSED, 0.4, "gap")
    np.testing.assert_array_equal(result[0, 0], [[0.5, 0.3, 0.2], [0, 0.6, 0.3], [0, 0, 0.8]])


def test_ratio_0_discards_nothing_and_the_input_is_not_modified():
    before = FUSED.copy()
    np.testing.assert_array_equal(discard_smallest(FUSED, 0.0, "cls"), FUSED)
    discard_smallest(FUSED, 0.9, "cls")
    np.testing.assert_array_equal(FUSED, before)


def test_each_image_and_layer_is_discarded_independently():
    random = np.random.default_rng(0)
    fused = random.random((2, 3, 5, 5)) * np.array([1.0, 10.0, 100.0]).reshape(3, 1, 1)
    result = discard_smallest(fused, 0.6, "gap")
    assert ((result == 0).sum(axis=(-2, -1)) == 15).all()
    for place in np.ndindex(2, 3):
        alone = discard_smallest(fused[place][np.newaxis, np.newaxis], 0.6, "gap")
        np.testing.assert_array_equal(alone[0, 0], result[place])


@pytest.mark.parametrize("fusion", ["mean", "max", "min"])
@pytest.mark.parametrize("ratio", [0.0, 0.9])
def test_rows_sum_to_1(fusion, ratio):
    attention = np.random.default_rng(0).dirichlet(np.ones(6), (3, 4, 2, 6)).astype(np.float32)
    rollout = attention_rollout(attention, "cls", fusion, ratio)
    assert rollout.shape == (4, 6, 6)
    assert rollout.dtype == np.float32
    assert rollout.min() >= 0
    np.testing.assert_allclose(rollout.sum(axis=-1), 1, rtol=1e-5)


def test_tokens_that_attend_only_to_themselves_give_the_identity():
    identity = np.tile(np.eye(4), (3, 2, 1, 1))
    np.testing.assert_array_equal(residual_rollout(identity), np.tile(np.eye(4), (2, 1, 1)))


def test_one_layer_is_half_attention_and_half_residual():
    attention = np.random.default_rng(0).dirichlet(np.ones(3), (1, 1, 1, 3))
    (rollout,) = attention_rollout(attention, "cls")
    np.testing.assert_allclose(rollout, attention[0, 0, 0] / 2 + np.eye(3) / 2)
