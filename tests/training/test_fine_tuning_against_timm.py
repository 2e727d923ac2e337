"""Resampled positions and layer-wise decay of the learning rate, beside timm's."""

import numpy as np
import pytest
import torch

from vit_hk.data.sources.torchvision_sets import import_torchvision_datasets
from vit_hk.training.initial_weights import resample_positions
from vit_hk.training.layer_decay import layer_factor

import_torchvision_datasets()  # declares operators without which timm cannot be imported
from timm import layers, models, optim  # noqa: E402


@pytest.mark.parametrize("prefix", [0, 1])
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ((4, 4), (8, 8)),
        ((4, 4), (7, 5)),
        ((14, 14), (24, 24)),
        ((3, 5), (6, 4)),
        ((8, 8), (4, 4)),
        ((9, 7), (4, 3)),
        ((1, 6), (5, 2)),
    ],
    ids=str,
)
def test_resampled_positions_equal_timm(old, new, prefix):
    position = np.random.default_rng(0).normal(size=(prefix + old[0] * old[1], 6))
    position = position.astype(np.float32)
    expected = layers.resample_abs_pos_embed(
        torch.tensor(position)[None], list(new), old_size=list(old), num_prefix_tokens=prefix,
        interpolation="bilinear", antialias=True,
    )[0]  # fmt: skip
    found = resample_positions(position, old, new)
    np.testing.assert_allclose(found, expected, atol=2e-6)
    np.testing.assert_array_equal(found[:prefix], position[:prefix])


# The names of our parts in timm's VisionTransformer.
PARTS = {"patch_embed": "patches", "cls_token": "class_token", "reg_token": "registers",
         "pos_embed": "position", "norm": "norm", "head": "head"}  # fmt: skip


@pytest.mark.parametrize("depth", [1, 3])
def test_learning_rates_of_layers_equal_timm(depth):
    model = models.VisionTransformer(
        img_size=8, patch_size=4, in_chans=1, num_classes=3, embed_dim=8, depth=depth, num_heads=2,
        reg_tokens=2,
    )  # fmt: skip
    names = {parameter: name for name, parameter in model.named_parameters()}
    compared = set()
    for group in optim.param_groups_layer_decay(model, layer_decay=0.7):
        for parameter in group["params"]:
            first, *rest = names[parameter].split(".")
            part = f"block_{rest[0]}" if first == "blocks" else PARTS[first]
            assert layer_factor(part, 0.7, depth) == pytest.approx(group["lr_scale"]), part
            compared.add(part)
    assert compared == {*PARTS.values(), *(f"block_{index}" for index in range(depth))}
