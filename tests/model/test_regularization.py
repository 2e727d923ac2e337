"""Dropout and drop path, tested with parameters that make each residual branch constant."""

import haiku as hk
import jax
import numpy as np
import pytest

from vit_hk.model.block import MLP, Block, drop_path, dropout
from vit_hk.model.vit import make_model


def keys_of(batch, seed=0):
    return jax.random.split(jax.random.key(seed), batch)


def shares(x, *values):
    """Return the share of x that equals each value; x must contain no other values."""
    counts = [np.isclose(x, value, atol=1e-5).mean() for value in values]
    assert sum(counts) == pytest.approx(1.0)
    return counts


def infer(model, params, images):
    return jax.jit(lambda p, x: model.apply(p, x))(params, images)


def zeros_like(transformed, *arguments):
    key = jax.random.key(0)
    shapes = jax.eval_shape(lambda: transformed.init(key, *arguments))
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes)


def block_with_constant_branches(**regularizers):
    """Return a function that gives what both branches, whose outputs are 1, add to the tokens."""
    num_tokens, width = 3, 8

    def forward(x, keys):
        block = Block(2, 12, "erf", 1e-6, **regularizers, name="block")
        return block(x, num_tokens, keys)[0]

    transformed = hk.without_apply_rng(hk.transform(forward))

    def run(batch, is_training):
        x = np.random.default_rng(0).normal(size=(batch * num_tokens, width)).astype(np.float32)
        params = zeros_like(transformed, x, None)
        for module in ("block/attention/out", "block/mlp/out"):
            params[module]["b"] += 1
        keys = keys_of(batch, seed=5) if is_training else None
        output = jax.jit(lambda p, x: transformed.apply(p, x, keys))(params, x)
        return (np.asarray(output) - x).reshape(batch, num_tokens, width)

    return run


def test_dropout_zeroes_elements_at_its_rate_and_keeps_the_mean():
    x = np.full((200, 100), 3.0, np.float32)
    dropped = np.asarray(dropout(x, 0.2, keys_of(50)))  # of 50 images with 4 tokens
    zeros, kept = shares(dropped, 0.0, 3.0 / 0.8)
    assert zeros == pytest.approx(0.2, abs=0.02)
    assert kept == pytest.approx(0.8, abs=0.02)
    assert dropped.mean() == pytest.approx(3.0, rel=0.02)


def test_dropout_acts_on_both_branches_of_a_block():
    run = block_with_constant_branches(dropout=0.5)
    np.testing.assert_allclose(run(4, is_training=False), 2.0, atol=1e-5)
    # Each branch adds 0 or 2, independently for each element.
    added = run(200, is_training=True)
    assert shares(added, 0.0, 2.0, 4.0) == pytest.approx([0.25, 0.5, 0.25], abs=0.03)


@pytest.mark.parametrize(
    "residual", [None, np.full((500, 6), 3, np.float32)], ids=["alone", "added"]
)
def test_dropout_acts_on_the_hidden_layer_of_the_mlp(residual):
    def forward(x, keys):
        return MLP(6, "erf", dropout=0.5, name="mlp")(x, keys, residual)

    transformed = hk.without_apply_rng(hk.transform(forward))
    x = np.ones((500, 6), np.float32)
    params = zeros_like(transformed, x, None)
    params["mlp/in"]["b"] += 10.0  # GELU(10) = 10
    params["mlp/out"]["w"] += np.eye(6, dtype=np.float32)
    added = 0.0 if residual is None else 3.0
    np.testing.assert_allclose(transformed.apply(params, x, None), 10.0 + added, rtol=1e-6)
    hidden = np.asarray(transformed.apply(params, x, keys_of(100))) - added
    assert shares(hidden, 0.0, 20.0) == pytest.approx([0.5, 0.5], abs=0.05)


def test_dropout_acts_on_the_embedded_tokens_but_not_on_attention(settings):
    s = settings(dropout=0.5, hidden_size=64, num_layers=1)
    model, images = make_model(s, 5), np.zeros((3, 4, 4, 1), np.float32)
    params = zeros_like(model, images)
    params["vit"]["position"] += 1
    params["vit/norm"]["scale"] += 1
    # The last LayerNorm maps a constant token to 0, and a token with zeroed elements to two values.
    assert not np.asarray(infer(model, params, images).features).any()
    train = jax.jit(lambda keys: model.apply(params, images, keys))
    first, repeated, other = (train(keys_of(3, seed)) for seed in (0, 0, 1))
    features = np.asarray(first.features)
    for token in features:
        assert len(np.unique(token.round(4))) == 2
    assert len(np.unique(features > 0, axis=0)) == 3  # each image has its own mask
    np.testing.assert_array_equal(features, repeated.features)
    assert (features != other.features).any()
    # All scores are 0, so each of the 5 tokens has the same weight, without dropout.
    np.testing.assert_allclose(first.attention, 1 / 5, rtol=1e-6)


def test_inference_uses_no_random_numbers(settings, random_params):
    images = np.random.default_rng(0).normal(size=(3, 4, 4, 1)).astype(np.float32)
    plain, random = (make_model(settings(dropout=rate, drop_path=rate), 5) for rate in (0.0, 0.5))
    params = random_params(plain, images)
    outputs = infer(random, params, images), infer(plain, params, images)
    for actual, expected in zip(*outputs, strict=True):
        np.testing.assert_array_equal(actual, expected)


def test_training_with_rates_of_zero_draws_no_random_number(settings):
    model, images = make_model(settings(), 5), np.ones((2, 4, 4, 1), np.float32)
    params = zeros_like(model, images)
    program = jax.jit(lambda keys: model.apply(params, images, keys)).lower(keys_of(2))
    compiled = program.compile().as_text()
    assert "xor" not in compiled  # of the Threefry generator
    rates = make_model(settings(dropout=0.5), 5)
    random = jax.jit(lambda keys: rates.apply(params, images, keys)).lower(keys_of(2))
    assert "xor" in random.compile().as_text()


def test_random_numbers_of_an_image_depend_on_its_key_alone(settings):
    model = make_model(settings(dropout=0.5, drop_path=0.5, num_layers=2), 5)
    images = np.random.default_rng(0).normal(size=(6, 4, 4, 1)).astype(np.float32)
    params = jax.tree.map(lambda x: x + 0.1, zeros_like(model, images))
    run = jax.jit(lambda images, keys: model.apply(params, images, keys).features)
    keys = keys_of(6)
    together = run(images, keys)
    assert np.abs(together - run(images, keys_of(6, seed=1))).max() > 0.1
    parts = [run(images[part], keys[part]) for part in (slice(0, 3), slice(3, 6))]
    np.testing.assert_allclose(np.concatenate(parts), together, rtol=1e-5, atol=1e-5)


def test_drop_path_zeroes_all_tokens_of_an_image_or_none():
    batch, num_tokens, width = 1000, 3, 4
    branch = np.arange(1, batch * num_tokens * width + 1, dtype=np.float32).reshape(-1, width)
    dropped = np.asarray(drop_path(branch, 0.25, keys_of(batch)))
    ratio = (dropped / branch).reshape(batch, -1)
    kept = ratio[:, 0] != 0
    assert (ratio[~kept] == 0.0).all()
    np.testing.assert_allclose(ratio[kept], 1 / 0.75, rtol=1e-6)
    assert kept.mean() == pytest.approx(0.75, abs=0.05)


def test_drop_path_acts_on_the_two_branches_of_a_block_independently():
    run = block_with_constant_branches(drop_path=0.5)
    np.testing.assert_allclose(run(4, is_training=False), 2.0, atol=1e-5)
    added = run(1000, is_training=True)
    assert np.ptp(added.reshape(1000, -1), axis=1).max() < 1e-5
    assert shares(added, 0.0, 2.0, 4.0) == pytest.approx([0.25, 0.5, 0.25], abs=0.05)


@pytest.mark.parametrize("num_layers", [1, 3])
def test_drop_path_rate_grows_linearly_from_zero_with_depth(settings, num_layers):
    last_rate, batch = 0.6, 1000
    s = settings(num_layers=num_layers, drop_path=last_rate)
    model, images = make_model(s, 5), np.zeros((batch, 2, 2, 1), np.float32)
    params = zeros_like(model, images)
    params["vit/norm"]["scale"] += 1
    for index in range(num_layers):  # block i adds 1 to element i of a token, and nothing else
        params[f"vit/block_{index}/attention/out"]["b"][index] += 1
    x = np.asarray(jax.jit(lambda keys: model.apply(params, images, keys).features)(keys_of(batch)))
    # The last LayerNorm shifts and scales a token. Before it element 7 is 0, and element 0 is 1,
    # since the first block is never dropped.
    added = (x[:, :num_layers] - x[:, 7:]) / (x[:, :1] - x[:, 7:])
    for index, rate in enumerate(np.linspace(0, last_rate, num_layers)):
        dropped, _ = shares(added[:, index], 0.0, 1 / (1 - rate))
        assert dropped == pytest.approx(rate, abs=0.05)
