import math

import jax
import numpy as np
import pytest

from vit_hk.model.size import activation_bytes, count_parameters, inference_bytes
from vit_hk.model.vit import make_model, parameter_shapes


@pytest.mark.parametrize(  # each pair of values occurs
    ("pool", "position", "registers", "qk_norm"),
    [
        ("cls", "learned", 0, False),
        ("cls", "sincos2d", 3, True),
        ("gap", "learned", 3, True),
        ("gap", "sincos2d", 0, False),
        ("gap", "learned", 0, True),
        ("cls", "sincos2d", 3, False),
    ],
)
def test_closed_form_counts_all_parameters(settings, pool, position, registers, qk_norm):
    s = settings(pool=pool, position=position, registers=registers, qk_norm=qk_norm)
    cases = [
        (s, (4, 6, 1), 5),
        (s.model_copy(update={"num_layers": 1, "num_heads": 4, "patch_size": 3}), (9, 3, 3), 2),
        (s.model_copy(update={"stem": "conv", "patch_size": 4}), (4, 8, 3), 5),
        (s.model_copy(update={"stem": "conv", "patch_size": 3}), (6, 3, 1), 2),
        (s.model_copy(update={"stem": "cct", "patch_size": 12}), (12, 24, 3), 5),
        (s.model_copy(update={"stem": "hybrid", "patch_size": 4}), (4, 8, 2), 5),
    ]
    for changed, shape, num_classes in cases:
        shapes = parameter_shapes(make_model(changed, num_classes), shape)
        expected = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))
        assert count_parameters(changed, shape, num_classes) == expected


def test_default_architecture_has_139_018_parameters(default_architecture):
    # 28 x 28 x 1 pixels in patches of 7: 4 x 4 = 16 patches of 49 pixels; D = 64, M = 128.
    #   patch embedding   49 * 64 + 64                    =   3,200
    #   class token       64                              =      64
    #   positions         (1 + 16) * 64                   =   1,088
    #   each block        qkv 64 * 192 + 192      12,480
    #                     out 64 * 64 + 64         4,160
    #                     MLP 64 * 128 + 128       8,320
    #                         128 * 64 + 64        8,256
    #                     2 norms of 2 * 64          256
    #                                             33,472
    #   4 blocks                                          = 133,888
    #   norm              2 * 64                          =     128
    #   head              64 * 10 + 10                    =     650
    assert count_parameters(default_architecture, (28, 28, 1), 10) == 139_018


# 12 x 16 pixels in patches of 2 are 48 patches, and 50 tokens with 2 registers. The attention
# weights of an image, float32 [2 heads, 50, 50], take 20,000 bytes in each layer.
SHAPE = (12, 16, 1)


@pytest.fixture(scope="module")
def gap_model(settings):
    return settings(pool="gap", registers=2)


def test_inference_takes_the_attention_of_one_layer(gap_model):
    assert inference_bytes(gap_model, SHAPE, num_images=100) == 2_000_000


def test_inference_with_one_layer_takes_the_attention_of_the_class_token_alone(settings):
    # 48 patches and the class token: T = 49; float32 [2 heads, T].
    s = settings(pool="cls", num_layers=1, num_heads=2, registers=0)
    assert inference_bytes(s, SHAPE, num_images=10) == 10 * 2 * 49 * 4


def test_inference_takes_the_first_convolution_where_that_is_larger(settings):
    # 1 patch and 1 class token, whose attention takes 32 bytes, and 4 x 4 pixels after the first
    # convolution of stride 2, which has 8 channels.
    s = settings(stem="conv", patch_size=8)
    assert inference_bytes(s, (8, 8, 1), num_images=10) == 10 * 4 * 4 * 8 * 4


def test_inference_takes_the_first_convolution_before_its_pooling(settings):
    s = settings(stem="cct", patch_size=8)
    assert inference_bytes(s, (8, 8, 1), num_images=10) == 10 * 8 * 8 * 8 * 4


def test_training_keeps_the_attention_of_all_layers(gap_model):
    assert activation_bytes(gap_model, SHAPE, 100, remat=False) == 2 * 2_000_000


def test_training_keeps_only_the_weights_of_the_class_token_in_the_last_layer(settings):
    # 48 patches, 1 register and the class token are 50 tokens, too.
    s = settings(registers=1, num_layers=3)
    assert activation_bytes(s, SHAPE, 100, remat=False) == 2 * 2_000_000


def test_with_remat_training_keeps_the_tokens_of_all_layers_and_the_attention_of_one(gap_model):
    # Tokens: 2 layers of 100 * 50 tokens of 8 elements of 4 bytes.
    assert activation_bytes(gap_model, SHAPE, 100, remat=True) == 2_000_000 + 320_000


def test_training_keeps_the_first_convolution(gap_model):
    # Patches of 4 pixels have two convolutions of stride 2. The first makes 2 x 2 pixels of 8
    # channels of each patch: 614,400 bytes for 100 images of 48 patches.
    s = gap_model.model_copy(update={"stem": "conv", "patch_size": 4})
    assert activation_bytes(s, (24, 32, 1), 100, remat=False) == 2 * 2_000_000 + 614_400


@pytest.mark.parametrize(
    ("pool", "execution"),
    [("cls", {}), ("gap", {"precision": "bfloat16"}), ("cls", {"remat": True})],
    ids=str,
)
def test_activation_bytes_are_a_lower_bound_of_what_xla_allocates(gap_model, pool, execution):
    # A bound that is too high would refuse a training that fits.
    s = gap_model.model_copy(update={"pool": pool, "patch_size": 1, "num_layers": 3})
    images = np.zeros((10, 8, 8, 1), np.float32)
    remat = execution.get("remat", False)
    bound = activation_bytes(s, images.shape[1:], len(images), remat)
    model = make_model(s, 3, **{"scan_layers": True, **execution})
    shapes = parameter_shapes(model, images.shape[1:])
    gradient = jax.jit(jax.grad(lambda p: model.apply(p, images).logits.sum()))
    allocated = gradient.lower(shapes).compile().memory_analysis().temp_size_in_bytes
    assert allocated / 8 < bound < allocated
