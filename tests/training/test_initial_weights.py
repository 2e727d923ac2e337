import dataclasses

import jax
import numpy as np
import pytest
from weights_files import dataset_of, info_of, random_weights, write_weights

from vit_hk.errors import UserError
from vit_hk.model import reference
from vit_hk.model.vit import init_params, make_model, parameter_shapes
from vit_hk.training.initial_weights import (
    adapt_channels,
    adapt_weights,
    load_initial_weights,
    resample_positions,
)
from vit_hk.weights import save_weights

FULL = {"position": "learned", "registers": 2, "qk_norm": True}
SHAPE = (8, 12, 3)


def assert_same(actual, expected):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for array, expected_array in zip(*map(jax.tree.leaves, (actual, expected)), strict=True):
        np.testing.assert_array_equal(array, expected_array)


def test_random_weights_are_left_to_the_training(make_config):
    assert load_initial_weights(make_config(), dataset_of(SHAPE)) is None


def test_weights_for_the_same_data_are_those_of_the_file(make_config, tmp_path, capsys):
    path = tmp_path / "weights.safetensors"
    config = make_config(model=FULL, init_from=str(path), batch_size=4)
    dataset = dataset_of(SHAPE)
    weights = write_weights(path, config, dataset)
    assert_same(load_initial_weights(config, dataset), weights)
    assert capsys.readouterr().out == f"starting from {path}, trained on shapes: head kept\n"


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (FULL, (4, 20, 1)),
        ({"stem": "conv", "pool": "gap"}, SHAPE),
        ({"stem": "cct", "pool": "gap"}, SHAPE),
        ({"stem": "hybrid", "pool": "gap"}, SHAPE),
    ],
    ids=["full, another shape", "plain, the same shape", "max pooling", "residual stem"],
)
def test_adapted_weights_fit_the_new_model_and_keep_all_else(make_config, model, shape):
    config = make_config(model=model, batch_size=4)
    old, new = dataset_of(SHAPE), dataset_of(shape, ("x", "y"))
    weights = random_weights(config, old)
    adapted = adapt_weights(weights, info_of(config, old), new)
    shapes = parameter_shapes(make_model(config.model, 2), shape)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), adapted) == jax.tree.map(
        lambda x: (x.shape, x.dtype), shapes
    )
    fresh = init_params(config.model, shape, 2, seed=0)
    assert_same(adapted["vit/head"], jax.tree.map(np.asarray, fresh["vit/head"]))
    changed = {"vit/head", "vit/patches/linear", "vit/patches/conv_0", "vit"}
    kept = weights.keys() - changed
    assert len(kept) > 5
    assert_same({key: adapted[key] for key in kept}, {key: weights[key] for key in kept})
    if "position" in weights.get("vit", {}):
        expected = resample_positions(weights["vit"]["position"], (2, 3), (1, 5))
        np.testing.assert_array_equal(adapted["vit"]["position"], expected)
    for name in ("class_token", "registers"):
        if name in weights.get("vit", {}):
            np.testing.assert_array_equal(adapted["vit"][name], weights["vit"][name])


@pytest.mark.parametrize(
    ("stem", "channels"),
    [("linear", (1, 3)), ("conv", (3, 1)), ("cct", (1, 3)), ("hybrid", (3, 1))],
    ids=str,
)
def test_grey_images_have_the_same_logits_with_other_channels(make_config, stem, channels):
    config = make_config(model={"stem": stem}, batch_size=4)
    old, new = (dataset_of((8, 8, count)) for count in channels)
    weights = random_weights(config, old)
    adapted = adapt_weights(weights, info_of(config, old), new)
    grey = np.random.default_rng(3).normal(size=(5, 8, 8, 1)).astype(np.float32)
    run = jax.jit(lambda weights, images: reference.vit(weights, images, config.model).logits)
    before, after = (
        run(w, grey.repeat(count, axis=-1))
        for w, count in zip((weights, adapted), channels, strict=True)
    )
    assert np.abs(before).max() > 0.1
    np.testing.assert_allclose(after, before, atol=1e-5)


def test_channels_of_a_pixel_are_summed():
    # Two pixels of three channels, one output; then one channel to three.
    kernels = np.array([[1], [2], [3], [10], [20], [30]], np.float32)
    np.testing.assert_array_equal(adapt_channels(kernels, 3, 1), [[6], [60]])
    expected = [[2], [2], [2], [20], [20], [20]]
    np.testing.assert_array_equal(adapt_channels(adapt_channels(kernels, 3, 1), 1, 3), expected)


def test_positions_of_a_row_are_interpolated():
    # A class token, then a grid of one row: twice as many patches lie a quarter off the old ones.
    position = np.array([[7.0], [0.0], [4.0]], np.float32)
    resampled = resample_positions(position, (1, 2), (1, 4))
    np.testing.assert_allclose(resampled[:, 0], [7, 0, 1, 3, 4])
    # Rows and columns are not exchanged.
    np.testing.assert_allclose(resample_positions(position, (1, 2), (2, 2))[:, 0], [7, 0, 4, 0, 4])
    np.testing.assert_allclose(resample_positions(position, (2, 1), (2, 2))[:, 0], [7, 0, 0, 4, 4])


def test_weights_with_another_shape_than_their_settings_are_refused(
    make_config, tmp_path, one_line
):
    path = tmp_path / "weights.safetensors"
    config = make_config(init_from=str(path), batch_size=4)
    dataset = dataset_of(SHAPE)
    info = info_of(config, dataset_of((8, 12, 3)))
    wider = dataclasses.replace(dataset, class_names=("a", "b", "c", "d"))
    save_weights(path, random_weights(config, wider), info)
    with pytest.raises(UserError) as caught:
        load_initial_weights(config, dataset)
    message = one_line(caught.value)
    assert f"{path}: tensor 'vit/head/b' is float32 [4], its own settings require" in message
    assert message.endswith("name another file in params.yaml: train.init_from")


def test_numbers_that_are_not_finite_are_refused(make_config, tmp_path, one_line):
    path = tmp_path / "weights.safetensors"
    config = make_config(init_from=str(path), batch_size=4)
    dataset = dataset_of(SHAPE)
    weights = random_weights(config, dataset)
    weights["vit/norm"]["scale"][3] = np.nan
    save_weights(path, weights, info_of(config, dataset))
    with pytest.raises(UserError) as caught:
        load_initial_weights(config, dataset)
    assert "tensor 'vit/norm/scale' has numbers that are not finite" in one_line(caught.value)
