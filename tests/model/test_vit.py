import itertools
import math

import haiku as hk
import jax
import numpy as np
import pytest

from vit_hk.model.encoder import Block
from vit_hk.model.vit import count_parameters, make_model, parameter_shapes


def pixels(batch, shape):
    return np.random.default_rng(batch).normal(size=(batch, *shape)).astype(np.float32)


def compiled(model):
    return jax.jit(lambda params, images: model.apply(params, None, images, is_training=False))


def shuffle_patches(images, patch, order):
    """Put patch order[n] of each image at place n, patches counted row by row."""
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


@pytest.mark.parametrize("qk_norm", [False, True])
@pytest.mark.parametrize("registers", [0, 3])
@pytest.mark.parametrize("position", ["learned", "sincos2d"])
@pytest.mark.parametrize("pool", ["cls", "gap"])
def test_closed_form_counts_all_parameters(settings, pool, position, registers, qk_norm):
    s = settings(pool=pool, position=position, registers=registers, qk_norm=qk_norm)
    cases = [
        (s, (4, 6, 1), 5),
        (s.model_copy(update={"num_layers": 1, "num_heads": 4, "patch_size": 3}), (9, 3, 3), 2),
        (s.model_copy(update={"stem": "conv", "patch_size": 4}), (4, 8, 3), 5),
        (s.model_copy(update={"stem": "conv", "patch_size": 3}), (6, 3, 1), 2),
    ]
    for changed, shape, classes in cases:
        shapes = parameter_shapes(make_model(changed, classes), shape)
        real = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))
        assert count_parameters(changed, shape, classes) == real


def test_default_architecture_has_139_018_parameters(default_architecture):
    # 28 x 28 x 1 pixels in patches of 7: 4 x 4 = 16 patches of 49 numbers; D 64, MLP 128.
    #   patch embedding   49 * 64 + 64                    =   3,200
    #   class token       64                              =      64
    #   positions         (1 + 16) * 64                   =   1,088
    #   a block           qkv 64 * 192 + 192      12,480
    #                     out 64 * 64 + 64         4,160
    #                     MLP 64 * 128 + 128       8,320
    #                         128 * 64 + 64        8,256
    #                     2 norms of 2 * 64          256
    #                                             33,472
    #   4 blocks                                          = 133,888
    #   norm              2 * 64                          =     128
    #   head              64 * 10 + 10                    =     650
    assert count_parameters(default_architecture, (28, 28, 1), 10) == 139_018


@pytest.mark.parametrize(
    ("changes", "tokens"),
    [
        ({}, 7),
        ({"pool": "gap", "registers": 3, "qk_norm": True, "num_layers": 1}, 9),
        ({"stem": "conv"}, 7),
    ],
)
def test_shapes_and_attention_rows_that_sum_to_one(settings, random_params, changes, tokens):
    s = settings(**changes)
    model, images = make_model(s, 5), pixels(3, (6, 4, 1))  # 3 x 2 patches
    output = compiled(model)(random_params(model, images, False), images)
    assert output.logits.shape == (3, 5)
    assert output.features.shape == (3, s.hidden_size)
    assert output.attention.shape == (s.num_layers, 3, s.num_heads, tokens, tokens)
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
def test_reading_attention_changes_no_bit_of_the_logits(
    settings, default_architecture, random_params, changes, shape, batch
):
    s = default_architecture if changes is None else settings(**changes)
    model, images = make_model(s, 10), pixels(batch, shape)
    # Not the initial weights: their head is zero and gives equal logits anyway.
    params = random_params(model, images, False, deviation=0.1)
    unread = jax.jit(lambda p, x: model.apply(p, None, x, is_training=False).logits)(params, images)
    read = compiled(model)(params, images).logits
    assert np.std(unread) > 0.1
    np.testing.assert_array_equal(
        np.asarray(unread).view(np.uint32), np.asarray(read).view(np.uint32)
    )


def test_logits_of_an_image_do_not_depend_on_its_batch(settings, random_params):
    model, images = make_model(settings(registers=1, num_layers=1), 5), pixels(4, (6, 4, 1))
    params, run = random_params(model, images, False), compiled(model)
    together = run(params, images)
    for index in range(4):
        alone = run(params, images[index : index + 1])
        np.testing.assert_allclose(together.logits[index], alone.logits[0], atol=1e-5)
        np.testing.assert_allclose(together.attention[:, index], alone.attention[:, 0], atol=1e-6)


@pytest.mark.parametrize(("pool", "registers"), [("cls", 0), ("cls", 2), ("gap", 2)])
def test_patches_stand_after_class_token_and_registers(settings, random_params, pool, registers):
    model, images = make_model(settings(pool=pool, registers=registers), 5), pixels(1, (6, 4, 1))
    params, run = random_params(model, images, False), compiled(model)
    before_patches = (pool == "cls") + registers
    original = np.log(run(params, images).attention[0, 0])  # [H, query T, key T]
    for patch, (row, column) in enumerate(itertools.product(range(3), range(2))):
        changed = images.copy()
        changed[:, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2] += 1.0
        logs = np.log(run(params, changed).attention[0, 0])
        # Differences of logarithms are differences of scores. Of the first token's scores,
        # which in the first block know no patch but their own key, one alone may move.
        moved = (logs - logs[..., :1] - original + original[..., :1])[:, 0]
        assert (np.abs(moved).max(axis=0) > 1e-3).nonzero()[0].tolist() == [before_patches + patch]


def test_without_positions_the_order_of_patches_does_not_matter(settings, random_params):
    model, images = make_model(settings(registers=1), 5), pixels(3, (6, 4, 1))
    order = [3, 0, 5, 1, 4, 2]
    shuffled = shuffle_patches(images, 2, order)
    params, run = random_params(model, images, False), compiled(model)
    with_positions = run(params, images).logits
    assert np.abs(with_positions - run(params, shuffled).logits).max() > 1e-2
    params["vit"]["position"] = np.zeros_like(params["vit"]["position"])
    first, second = run(params, images), run(params, shuffled)
    np.testing.assert_allclose(first.logits, second.logits, atol=1e-5)
    keys = [0, 1, *(2 + np.array(order))]  # class token and register stay in front
    moved = np.asarray(first.attention)[..., keys, :][..., keys]
    np.testing.assert_allclose(moved, second.attention, atol=1e-5)


@pytest.mark.parametrize("pool", ["cls", "gap"])
def test_patches_may_move_together_with_their_positions(settings, random_params, pool):
    model, images = make_model(settings(pool=pool, registers=2), 5), pixels(3, (6, 4, 1))
    order = [3, 0, 5, 1, 4, 2]
    params, run = random_params(model, images, False), compiled(model)
    expected = run(params, images).logits
    first = int(pool == "cls")  # registers have no position
    rows = [*range(first), *(first + np.array(order))]
    params["vit"]["position"] = params["vit"]["position"][rows]
    moved = run(params, shuffle_patches(images, 2, order)).logits
    np.testing.assert_allclose(moved, expected, atol=1e-5)


def test_sincos_positions_make_the_order_of_patches_matter(settings, random_params):
    model, images = make_model(settings(position="sincos2d"), 5), pixels(3, (6, 4, 1))
    params, run = random_params(model, images, False), compiled(model)
    assert "position" not in params["vit"]
    shuffled = shuffle_patches(images, 2, [1, 0, 2, 3, 4, 5])
    difference = run(params, images).logits - run(params, shuffled).logits
    assert np.abs(difference).max() > 1e-2


def test_last_block_gives_the_class_token_as_if_it_computed_all(random_params):
    # Only that token is computed there; its numbers are those of the block on all tokens.
    random = np.random.default_rng(0)
    x = random.normal(size=(2 * 5, 8)).astype(np.float32)

    def run(x, only_first):
        return Block(2, 12, name="block")(x, 5, False, only_first=only_first)

    block = hk.transform(run)
    params = random_params(block, x, False)
    whole, weights = block.apply(params, None, x, False)
    first, same_weights = block.apply(params, None, x, True)
    np.testing.assert_allclose(first, whole.reshape(2, 5, 8)[:, 0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(same_weights, weights, rtol=1e-5, atol=1e-6)
