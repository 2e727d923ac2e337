import numpy as np
import pytest

from vit_hk.explain.rollout import attention_rollout, discard_smallest, roll_out

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
def test_two_layers_by_hand(fusion, expected):
    (rollout,) = attention_rollout(ATTENTION, "gap", fusion)
    np.testing.assert_allclose(rollout, expected, rtol=1e-12)


FUSED = np.array([[0.5, 0.3, 0.2], [0.1, 0.6, 0.3], [0.05, 0.15, 0.8]])[np.newaxis, np.newaxis]


def test_the_smallest_weights_go_but_none_towards_the_class_token():
    # Half of the 6 others: .15, .2 and the first .3; though .05 and .1 are smaller.
    kept = discard_smallest(FUSED, 0.5, "cls")
    np.testing.assert_array_equal(kept[0, 0], [[0.5, 0, 0], [0.1, 0.6, 0.3], [0.05, 0, 0.8]])


def test_without_a_class_token_every_weight_can_go():
    # 3 of 9, rounded down from 3.6: .05, .1 and .15.
    kept = discard_smallest(FUSED, 0.4, "gap")
    np.testing.assert_array_equal(kept[0, 0], [[0.5, 0.3, 0.2], [0, 0.6, 0.3], [0, 0, 0.8]])


def test_nothing_is_discarded_by_default_and_the_input_stays():
    before = FUSED.copy()
    np.testing.assert_array_equal(discard_smallest(FUSED, 0.0, "cls"), FUSED)
    discard_smallest(FUSED, 0.9, "cls")
    np.testing.assert_array_equal(FUSED, before)


def test_each_image_and_layer_discards_its_own():
    random = np.random.default_rng(0)
    fused = random.random((2, 3, 5, 5)) * np.array([1.0, 10.0, 100.0]).reshape(3, 1, 1)
    kept = discard_smallest(fused, 0.6, "gap")
    assert ((kept == 0).sum(axis=(-2, -1)) == 15).all()
    for place in np.ndindex(2, 3):
        alone = discard_smallest(fused[place][np.newaxis, np.newaxis], 0.6, "gap")
        np.testing.assert_array_equal(alone[0, 0], kept[place])


@pytest.mark.parametrize("fusion", ["mean", "max", "min"])
@pytest.mark.parametrize("ratio", [0.0, 0.9])
def test_rows_sum_to_1(fusion, ratio):
    attention = np.random.default_rng(0).dirichlet(np.ones(6), (3, 4, 2, 6)).astype(np.float32)
    rollout = attention_rollout(attention, "cls", fusion, ratio)
    assert rollout.shape == (4, 6, 6)
    assert rollout.dtype == np.float32
    assert rollout.min() >= 0
    np.testing.assert_allclose(rollout.sum(axis=-1), 1, rtol=1e-5)


def test_tokens_that_look_only_at_themselves_stay_where_they_are():
    identity = np.tile(np.eye(4), (3, 2, 1, 1))
    np.testing.assert_array_equal(roll_out(identity), np.tile(np.eye(4), (2, 1, 1)))


def test_one_layer_is_half_attention_and_half_residual():
    attention = np.random.default_rng(0).dirichlet(np.ones(3), (1, 1, 1, 3))
    (rollout,) = attention_rollout(attention, "cls")
    np.testing.assert_allclose(rollout, attention[0, 0, 0] / 2 + np.eye(3) / 2)
