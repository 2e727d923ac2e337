import numpy as np
import pytest

from vit_hk.explain.positions import cosine_similarity, patch_positions
from vit_hk.params import ModelSettings


def settings(pool: str, position: str) -> ModelSettings:
    return ModelSettings(
        patch_size=2, stem="linear", hidden_size=8, num_layers=1, num_heads=1, mlp_dim=4,
        pool=pool, position=position, dropout=0.0, drop_path=0.0, qk_norm=False, registers=2,
        gelu="erf", norm_eps=1e-6,
    )  # fmt: skip


@pytest.mark.parametrize(("pool", "before"), [("cls", 1), ("gap", 0)])
def test_learned_positions_exclude_that_of_the_class_token(pool, before):
    table = np.random.default_rng(0).normal(size=(before + 6, 8)).astype(np.float32)
    positions = patch_positions({"vit": {"position": table}}, settings(pool, "learned"), (2, 3))
    np.testing.assert_array_equal(positions, table[before:])


def test_fixed_positions_are_most_similar_within_a_row_and_column():
    positions = patch_positions({}, settings("cls", "sincos2d"), (4, 5))
    assert positions.shape == (20, 8)
    similarity = cosine_similarity(positions).reshape(4, 5, 4, 5)
    # Neighbours in a row or a column are more similar than patches two steps away.
    assert similarity[1, 1, 1, 2] > similarity[1, 1, 3, 3]
    assert similarity[1, 1, 2, 1] > similarity[1, 1, 3, 3]


def test_cosines_of_known_vectors():
    vectors = np.array([[2.0, 0.0], [1.0, 1.0], [0.0, -3.0], [-1.0, 0.0]])
    half = 0.5**0.5
    np.testing.assert_allclose(
        cosine_similarity(vectors),
        [[1, half, 0, -1], [half, 1, -half, -half], [0, -half, 1, 0], [-1, -half, 0, 1]],
        atol=1e-12,
    )


def test_a_vector_of_zeros_has_cosine_0():
    np.testing.assert_array_equal(
        cosine_similarity(np.array([[0.0, 0.0], [1.0, 0.0]])), [[0, 0], [0, 1]]
    )


def test_rounding_gives_no_cosine_above_1():
    vectors = np.random.default_rng(0).normal(size=(100, 7)).astype(np.float32)
    similarity = cosine_similarity(vectors)
    assert similarity.max() == 1
    assert similarity.dtype == np.float32
