import itertools

import jax
import numpy as np
import pytest

from vit_hk.model.vit import make_model


def random_images(batch, shape):
    return np.random.default_rng(batch).normal(size=(batch, *shape)).astype(np.float32)


def jit_inference(model):
    return jax.jit(lambda params, images: model.apply(params, images))


def permute_patches(images, patch, order):
    """Move patch order[n] of each image to position n; patches are numbered row by row."""
    columns = images.shape[2] // patch
    result = np.empty_like(images)
    for new, old in enumerate(order):
        (new_row, new_column), (old_row, old_column) = divmod(new, columns), divmod(old, columns)
        result[
            :,
            new_row * patch : (new_row + 1) * patch,
            new_column * patch : (new_column + 1) * patch,
        ] = images[
            :,
            old_row * patch : (old_row + 1) * patch,
            old_column * patch : (old_column + 1) * patch,
        ]
    return result


@pytest.mark.parametrize(
    ("changes", "num_tokens"),
    [
        ({}, 7),
        ({"pool": "gap", "registers": 3, "qk_norm": True, "num_layers": 1}, 9),
        ({"stem": "conv"}, 7),
        ({"stem": "cct"}, 7),
        ({"stem": "hybrid"}, 7),
    ],
)
def test_output_shapes_and_attention_rows_that_sum_to_one(
    settings, random_params, changes, num_tokens
):
    s = settings(**changes)
    model, images = make_model(s, 5), random_images(3, (6, 4, 1))  # 3 x 2 patches
    assert s.num_tokens((6, 4, 1)) == num_tokens
    output = jit_inference(model)(random_params(model, images), images)
    assert output.logits.shape == (3, 5)
    assert output.features.shape == (3, s.hidden_size)
    assert output.attention.shape == (s.num_layers, 3, s.num_heads, num_tokens, num_tokens)
    np.testing.assert_allclose(output.attention.sum(-1), 1.0, atol=1e-6)
    assert output.attention.min() >= 0


@pytest.mark.parametrize(
    ("changes", "shape", "batch"),
    [
        (None, (28, 28, 1), 8),
        ({}, (6, 4, 1), 3),
        ({"pool": "gap", "registers": 2, "qk_norm": True}, (4, 4, 3), 5),
    ],
)
def test_reading_the_attention_changes_no_bit_of_the_logits(
    settings, default_architecture, random_params, changes, shape, batch
):
    s = default_architecture if changes is None else settings(**changes)
    model, images = make_model(s, 10), random_images(batch, shape)
    # Not the initial parameters, whose head is zero, so that all logits would be equal.
    params = random_params(model, images, std=0.1)
    logits_only = jax.jit(lambda p, x: model.apply(p, x).logits)
    unread = logits_only(params, images)
    read = jit_inference(model)(params, images).logits
    assert np.std(unread) > 0.1
    np.testing.assert_array_equal(
        np.asarray(unread).view(np.uint32), np.asarray(read).view(np.uint32)
    )


def test_logits_of_an_image_do_not_depend_on_its_batch(settings, random_params):
    s = settings(registers=1, num_layers=1)
    model, images = make_model(s, 5), random_images(4, (6, 4, 1))
    params, run = random_params(model, images), jit_inference(model)
    batch = run(params, images)
    for index in range(4):
        single = run(params, images[index : index + 1])
        np.testing.assert_allclose(batch.logits[index], single.logits[0], atol=1e-5)
        np.testing.assert_allclose(batch.attention[:, index], single.attention[:, 0], atol=1e-6)


@pytest.mark.parametrize(("pool", "registers"), [("cls", 0), ("cls", 2), ("gap", 2)])
def test_patch_tokens_follow_class_token_and_registers(settings, random_params, pool, registers):
    s = settings(pool=pool, registers=registers)
    model, images = make_model(s, 5), random_images(1, (6, 4, 1))
    params, run = random_params(model, images), jit_inference(model)
    first_patch = (pool == "cls") + registers
    original = np.log(run(params, images).attention[0, 0])  # [H, query T, key T]
    for patch, (row, column) in enumerate(itertools.product(range(3), range(2))):
        changed = images.copy()
        changed[:, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2] += 1.0
        logs = np.log(run(params, changed).attention[0, 0])
        # Differences of logarithms of weights are differences of scores. In the first block the
        # first token depends on no patch, so of its scores only the one of the changed patch's
        # key may differ.
        difference = (logs - logs[..., :1] - original + original[..., :1])[:, 0]
        changed_keys = (np.abs(difference).max(axis=0) > 1e-3).nonzero()[0]
        assert changed_keys.tolist() == [first_patch + patch]


def test_without_positions_a_permutation_of_patches_keeps_the_logits(settings, random_params):
    model, images = make_model(settings(registers=1), 5), random_images(3, (6, 4, 1))
    order = [3, 0, 5, 1, 4, 2]
    permuted = permute_patches(images, 2, order)
    params, run = random_params(model, images), jit_inference(model)
    with_positions = run(params, images).logits
    assert np.abs(with_positions - run(params, permuted).logits).max() > 1e-2
    params["vit"]["position"] = np.zeros_like(params["vit"]["position"])
    original, changed = run(params, images), run(params, permuted)
    np.testing.assert_allclose(original.logits, changed.logits, atol=1e-5)
    tokens = [0, 1, *(2 + np.array(order))]  # class token and register keep their places
    expected = np.asarray(original.attention)[..., tokens, :][..., tokens]
    np.testing.assert_allclose(expected, changed.attention, atol=1e-5)


@pytest.mark.parametrize("pool", ["cls", "gap"])
def test_a_permutation_of_patches_with_their_positions_keeps_the_logits(
    settings, random_params, pool
):
    model, images = make_model(settings(pool=pool, registers=2), 5), random_images(3, (6, 4, 1))
    order = [3, 0, 5, 1, 4, 2]
    params, run = random_params(model, images), jit_inference(model)
    expected = run(params, images).logits
    first = int(pool == "cls")  # registers have no position
    rows = [*range(first), *(first + np.array(order))]
    params["vit"]["position"] = params["vit"]["position"][rows]
    logits = run(params, permute_patches(images, 2, order)).logits
    np.testing.assert_allclose(logits, expected, atol=1e-5)


def test_with_sincos_positions_the_logits_depend_on_the_order_of_patches(settings, random_params):
    model, images = make_model(settings(position="sincos2d"), 5), random_images(3, (6, 4, 1))
    params, run = random_params(model, images), jit_inference(model)
    assert "position" not in params["vit"]
    permuted = permute_patches(images, 2, [1, 0, 2, 3, 4, 5])
    difference = run(params, images).logits - run(params, permuted).logits
    assert np.abs(difference).max() > 1e-2
