import jax
import numpy as np
import pytest

from vit_hk.model.vit import init_params

WIDTH, MLP, PATCH, CHANNELS = 64, 192, 4, 3


@pytest.fixture(scope="module")
def params(settings):
    """Return parameters so many that a sample's standard deviation is within a few percent."""
    s = settings(
        hidden_size=WIDTH, mlp_dim=MLP, patch_size=PATCH, num_heads=4, registers=40, qk_norm=True
    )
    return jax.tree.map(np.asarray, init_params(s, (32, 32, CHANNELS), 10, seed=3))


def test_parameters_depend_on_the_seed(settings):
    first, second, other = (
        init_params(settings(), (4, 6, 1), 4, seed)["vit/block_0/attention/qkv"]["w"]
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, second)
    assert np.abs(first - other).max() > 0.1


def test_head_is_zero(params):
    assert not params["vit/head"]["w"].any()
    assert not params["vit/head"]["b"].any()


def assert_uniform(x, limit):
    assert np.abs(x).max() <= limit * (1 + 1e-6)
    assert x.max() > 0.98 * limit
    assert x.min() < -0.98 * limit
    assert x.std() == pytest.approx(limit / 3**0.5, rel=0.05)
    assert abs(x.mean()) < 0.05 * limit


@pytest.mark.parametrize("block", [0, 1])
def test_query_key_value_and_output_are_glorot_uniform_as_square_matrices(params, block):
    # Glorot: sqrt(6 / (fan in + fan out)), here with 64 + 64, not 64 + 3 * 64.
    limit = (6 / (WIDTH + WIDTH)) ** 0.5
    qkv = params[f"vit/block_{block}/attention/qkv"]["w"]
    assert qkv.shape == (WIDTH, 3 * WIDTH)
    for matrix in (*np.split(qkv, 3, axis=1), params[f"vit/block_{block}/attention/out"]["w"]):
        assert_uniform(matrix, limit)


@pytest.mark.parametrize("layer", ["in", "out"])
def test_mlp_is_glorot_uniform(params, layer):
    assert_uniform(params[f"vit/block_0/mlp/{layer}"]["w"], (6 / (WIDTH + MLP)) ** 0.5)


def test_patch_embedding_is_lecun_normal(params):
    weights = params["vit/patches/linear"]["w"]
    std = (PATCH * PATCH * CHANNELS) ** -0.5
    assert weights.std() == pytest.approx(std, rel=0.05)
    assert np.abs(weights).max() < 2.3 * std  # a normal distribution truncated at 2 sigma


@pytest.mark.parametrize("name", ["position", "registers"])
def test_positions_and_registers_are_normal_with_std_002(params, name):
    assert params["vit"][name].std() == pytest.approx(0.02, rel=0.05)
    assert abs(params["vit"][name].mean()) < 0.002


def test_class_token_is_zero(params):
    assert not params["vit"]["class_token"].any()


def test_biases_are_zero_and_tiny_in_the_mlp(params):
    biases = {module: arrays["b"] for module, arrays in params.items() if "b" in arrays}
    assert len(biases) == 2 + 2 * 4  # patches, head; qkv, out, in, out of two blocks
    for module, bias in biases.items():
        if "/mlp/" in module:
            assert bias.std() == pytest.approx(1e-6, rel=0.3)
        else:
            assert not bias.any()


def test_layer_norms_have_scale_one_and_offset_zero(params):
    norms = [arrays for arrays in params.values() if "scale" in arrays]
    assert len(norms) == 1 + 2 * 4  # the last one; in each block two, and those of q and k
    for arrays in norms:
        assert (arrays["scale"] == 1).all()
        assert not arrays["offset"].any()


def test_blocks_have_different_weights(params):
    first, second = (params[f"vit/block_{i}/attention/qkv"]["w"] for i in (0, 1))
    assert np.abs(first - second).max() > 0.1
