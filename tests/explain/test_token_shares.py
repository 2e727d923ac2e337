import numpy as np
import pytest

from vit_hk.explain.token_shares import token_kinds, token_shares

# Attention among the tokens class, two registers, three patches.
ROWS = np.array(
    [
        [0.10, 0.20, 0.10, 0.30, 0.20, 0.10],
        [0.90, 0.02, 0.02, 0.02, 0.02, 0.02],
        [0.20, 0.30, 0.10, 0.40, 0.00, 0.00],
        [0.00, 0.10, 0.00, 0.60, 0.20, 0.10],
        [0.20, 0.00, 0.10, 0.10, 0.50, 0.10],
        [0.10, 0.00, 0.20, 0.20, 0.20, 0.30],
    ]
)
ATTENTION = ROWS[np.newaxis, np.newaxis, np.newaxis]


def test_sum_over_key_tokens_and_mean_over_query_tokens():
    shares = token_shares(ATTENTION, 3, "cls")
    assert shares.shape == (1, 1, 1, 3, 3)
    np.testing.assert_allclose(
        shares[0, 0, 0],
        [
            [0.10, 0.30, 0.60],
            [(0.9 + 0.2) / 2, (0.04 + 0.4) / 2, (0.06 + 0.4) / 2],
            [0.30 / 3, (0.1 + 0.1 + 0.2) / 3, (0.9 + 0.7 + 0.7) / 3],
        ],
    )


@pytest.mark.parametrize(
    ("tokens", "pool", "expected"),
    [(6, "cls", [0, 1, 1, 2, 2, 2]), (4, "cls", [0, 2, 2, 2]), (5, "gap", [1, 1, 2, 2, 2]),
     (3, "gap", [2, 2, 2])],
)  # fmt: skip
def test_order_of_the_tokens(tokens, pool, expected):
    assert token_kinds(tokens, 3, pool).tolist() == expected


def test_kinds_without_tokens_have_share_0():
    attention = np.random.default_rng(0).dirichlet(np.ones(4), (2, 3, 5, 4))
    shares = token_shares(attention, 4, "gap")
    assert shares.shape == (2, 3, 5, 3, 3)
    np.testing.assert_allclose(shares[..., 2, 2], 1)
    assert np.count_nonzero(shares) == 2 * 3 * 5


def test_each_layer_image_and_head_is_independent():
    attention = np.random.default_rng(0).dirichlet(np.ones(6), (2, 3, 4, 6)).astype(np.float32)
    shares = token_shares(attention, 3, "cls")
    assert shares.dtype == np.float32
    np.testing.assert_allclose(shares.sum(axis=-1), 1, rtol=1e-5)
    np.testing.assert_allclose(shares[..., 0, 1], attention[..., 0, 1:3].sum(axis=-1), rtol=1e-5)
