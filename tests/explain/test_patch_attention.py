import numpy as np
import pytest

from vit_hk.explain.patch_attention import patch_attention, query_name


@pytest.fixture
def attention() -> np.ndarray:
    """Attention of one layer, image and head; tokens: class, two registers, three patches."""
    rows = np.array(
        [
            [0.10, 0.20, 0.10, 0.30, 0.20, 0.10],  # class
            [0.90, 0.02, 0.02, 0.02, 0.02, 0.02],  # registers
            [0.02, 0.90, 0.02, 0.02, 0.02, 0.02],
            [0.00, 0.10, 0.00, 0.60, 0.20, 0.10],  # patches
            [0.20, 0.00, 0.10, 0.10, 0.50, 0.10],
            [0.00, 0.00, 0.20, 0.20, 0.20, 0.40],
        ]
    )
    np.testing.assert_allclose(rows.sum(axis=1), 1)
    return rows[np.newaxis, np.newaxis, np.newaxis]


def test_cls_takes_the_row_of_the_class_token(attention):
    maps = patch_attention(attention, 3, "cls")
    assert maps.shape == (1, 1, 1, 3)
    np.testing.assert_allclose(maps.ravel(), [0.30, 0.20, 0.10])


def test_attention_to_class_token_and_registers_is_missing_from_the_sum(attention):
    assert patch_attention(attention, 3, "cls").sum() == pytest.approx(1 - 0.10 - 0.20 - 0.10)


def test_gap_takes_the_mean_over_the_rows_of_the_patches(attention):
    # Without a class token, the registers are first.
    maps = patch_attention(attention[..., 1:, 1:], 3, "gap")
    np.testing.assert_allclose(
        maps.ravel(), [(0.6 + 0.1 + 0.2) / 3, (0.2 + 0.5 + 0.2) / 3, (0.1 + 0.1 + 0.4) / 3]
    )


def test_gap_without_registers_sums_to_1():
    attention = np.random.default_rng(0).dirichlet(np.ones(4), (2, 3, 5, 4))
    maps = patch_attention(attention, 4, "gap")
    assert maps.shape == (2, 3, 5, 4)
    np.testing.assert_allclose(maps.sum(axis=-1), 1)


def test_each_layer_image_and_head_is_independent():
    attention = np.random.default_rng(0).dirichlet(np.ones(6), (2, 3, 4, 6))
    maps = patch_attention(attention, 5, "cls")
    for place in np.ndindex(2, 3, 4):
        np.testing.assert_array_equal(maps[place], attention[place][0, 1:])


def test_an_image_of_a_single_patch():
    attention = np.array([[0.25, 0.75], [0.5, 0.5]])[np.newaxis, np.newaxis, np.newaxis]
    assert patch_attention(attention, 1, "cls").ravel() == pytest.approx([0.75])


@pytest.mark.parametrize(("pool", "name"), [("cls", "the class token"), ("gap", "the mean patch")])
def test_name_of_the_query_token(pool, name):
    assert query_name(pool) == name
