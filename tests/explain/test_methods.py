import numpy as np
import pytest

from vit_hk.explain.methods import METHODS, MethodInputs, attribution_maps, normalize_maps

NAMES = list(METHODS)


@pytest.mark.parametrize(("pool", "registers"), [("cls", 0), ("cls", 2), ("gap", 0), ("gap", 2)])
def test_each_method_gives_a_map_that_sums_to_at_most_its_row(pool, registers):
    tokens = (pool == "cls") + registers + 6
    random = np.random.default_rng(0)
    attention = random.dirichlet(np.ones(tokens), (3, 4, 2, tokens)).astype(np.float32)
    gradient = random.normal(size=attention.shape).astype(np.float32)
    maps = attribution_maps(MethodInputs(attention, gradient, pool, "mean", 0.0), 6)
    assert maps.shape == (len(METHODS), 4, 6)
    assert maps.dtype == np.float32
    assert maps.min() >= 0
    for method in ("last_layer", "rollout", "gradient_rollout"):
        assert maps[NAMES.index(method)].sum(axis=-1).max() <= 1 + 1e-5


def test_methods_on_one_known_layer():
    # Class token and two patches; one head.
    attention = np.array([[0.2, 0.3, 0.5], [0.1, 0.8, 0.1], [0.6, 0.2, 0.2]])
    gradient = np.array([[1.0, 4.0, -2.0], [9.0, 9.0, 9.0], [9.0, 9.0, 9.0]])
    inputs = MethodInputs(
        attention[None, None, None], gradient[None, None, None], "cls", "mean", 0.0
    )
    maps = attribution_maps(inputs, 2)
    by_name = dict(zip(METHODS, maps[:, 0], strict=True))
    np.testing.assert_allclose(by_name["last_layer"], [0.3, 0.5])
    np.testing.assert_allclose(by_name["rollout"], [0.15, 0.25])
    np.testing.assert_allclose(by_name["relevance"], [1.2, 0.0])
    # Half of (0.2, 1.2, 0) and half of (1, 0, 0), scaled to sum to 1.
    np.testing.assert_allclose(by_name["gradient_rollout"], [0.6 / 1.2, 0.0])


@pytest.mark.parametrize(
    ("gradient_of_key_2", "expected"), [(1.0, [0, 0, 1, 0]), (-1.0, [0, 0, 0, 0])]
)
def test_relevance_of_the_mean_patch_has_nothing_that_the_class_does_not_give(
    gradient_of_key_2, expected
):
    attention = np.full((1, 1, 1, 4, 4), 0.25)
    gradient = np.zeros_like(attention)
    gradient[..., 2] = gradient_of_key_2
    maps = attribution_maps(MethodInputs(attention, gradient, "gap", "mean", 0.0), 4)
    np.testing.assert_allclose(normalize_maps(maps)[NAMES.index("relevance"), 0], expected)


def test_only_the_gradient_methods_depend_on_the_class():
    random = np.random.default_rng(0)
    attention = random.dirichlet(np.ones(5), (2, 3, 2, 5))
    first, second = (
        attribution_maps(MethodInputs(attention, gradient, "cls", "mean", 0.0), 4)
        for gradient in random.normal(size=(2, *attention.shape))
    )
    differs = [(one != other).any() for one, other in zip(first, second, strict=True)]
    assert dict(zip(METHODS, differs, strict=True)) == {
        "last_layer": False, "rollout": False, "gradient_rollout": True, "relevance": True,
    }  # fmt: skip


def test_rollout_depends_on_its_settings():
    attention = np.random.default_rng(0).dirichlet(np.ones(5), (2, 3, 2, 5))
    plain, fused, discarded = (
        attribution_maps(MethodInputs(attention, attention, "cls", fusion, ratio), 4)
        for fusion, ratio in [("mean", 0.0), ("max", 0.0), ("mean", 0.8)]
    )
    rollout = NAMES.index("rollout")
    assert (plain[rollout] != fused[rollout]).any()
    assert (plain[rollout] != discarded[rollout]).any()


def test_normalized_maps_sum_to_1_and_keep_their_ratios():
    maps = np.array([[[1.0, 3.0], [0.2, 0.2]], [[0.0, 0.0], [5.0, 0.0]]])
    np.testing.assert_allclose(
        normalize_maps(maps), [[[0.25, 0.75], [0.5, 0.5]], [[0.0, 0.0], [1.0, 0.0]]]
    )
