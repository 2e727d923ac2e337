from pathlib import Path
from typing import Any

import jax
import pytest

from vit_hk.model.stem_layers import stem_layers
from vit_hk.model.vit import make_model, parameter_shapes
from vit_hk.params import ModelSettings
from vit_hk.report.panels.architecture import Part, list_parts
from vit_hk.report.weights_file import WeightsFile
from vit_hk.weights_metadata import WeightsInfo


def weights_of(tree: dict[str, Any], **options: Any) -> WeightsFile:
    """Return the header of the weights of a model for images of 8 x 12 pixels and five classes."""
    model = ModelSettings(**tree["model"] | options)
    info = WeightsInfo(
        preparation=None, model=model, data="toy", source="drawn", class_names=list("abcde"),
        image_shape=[8, 12, 1], mean=[0.4], std=[0.2], seed=0, validation_fraction=0.5,
    )  # fmt: skip
    shapes = parameter_shapes(make_model(model, 5), (8, 12, 1))
    named = {
        f"{module}/{name}": list(leaf.shape)
        for module, leaves in shapes.items()
        for name, leaf in leaves.items()
    }
    return WeightsFile(Path("vit.safetensors"), info, named)


MODELS = [
    {"pool": "cls", "registers": 0, "position": "learned"},
    {"pool": "gap", "registers": 3, "position": "sincos2d", "qk_norm": True, "num_layers": 3},
    {"pool": "cls", "registers": 2, "stem": "conv", "position": "learned", "num_layers": 1},
    {"pool": "cls", "stem": "cct", "position": "learned", "num_layers": 2},
    {"pool": "gap", "stem": "hybrid", "position": "learned", "num_layers": 2},
]


@pytest.mark.parametrize("options", MODELS)
def test_each_parameter_of_the_model_is_counted_once(tree, options):
    weights = weights_of(tree, **options)
    parts = list_parts(weights)
    shapes = parameter_shapes(make_model(weights.info.model, 5), (8, 12, 1))
    total = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    assert sum(part.parameters for part in parts) == weights.num_parameters == total
    (block,) = (part for part in parts if part.parts)
    assert block.repeats == weights.info.model.num_layers
    assert block.repeats * sum(part.parameters for part in block.parts) == block.parameters


@pytest.mark.parametrize(
    ("stem", "patch_size", "expected"),
    [
        ("cct", 4, "2 convolutions of 3 × 3 with GELU (2 with max pooling), then"),
        ("cct", 2, "a 3 × 3 convolution with GELU (1 with max pooling), then"),
        ("cct", 1, "a 3 × 3 convolution with GELU, then"),  # without a factor 2, nothing is pooled
        ("conv", 4, "2 convolutions of 3 × 3 with GELU, then"),
        (
            "hybrid", 4,
            "4 convolutions of 3 × 3 with LayerNorm and GELU "
            "(2 with max pooling, 2 with a residual connection), then",
        ),
        (
            "hybrid", 1,
            "2 convolutions of 3 × 3 with LayerNorm and GELU (1 with a residual connection), then",
        ),
    ],
)  # fmt: skip
def test_stem_is_described_as_it_is(tree, stem, patch_size, expected):
    weights = weights_of(tree, stem=stem, patch_size=patch_size)
    layers = stem_layers(stem, patch_size, weights.info.model.hidden_size)
    (embedding,) = (part for part in list_parts(weights) if part.name == "Patch embedding")
    assert embedding.detail.startswith(expected)
    assert ("max pooling" in expected) == any(layer.pool_stride > 1 for layer in layers)
    assert int(expected[0].replace("a", "1")) == len(layers)


def test_parts_come_in_the_order_of_the_model(tree):
    def names(**options: Any) -> list[str]:
        return [part.name for part in list_parts(weights_of(tree, **options))]

    end = ["Encoder block", "LayerNorm", "Pooling", "Head"]
    assert names(pool="cls", registers=2, position="learned") == [
        "Image", "Patch embedding", "Class token", "Positions", "Registers", *end,
    ]  # fmt: skip
    assert names(pool="cls", registers=0, position="sincos2d") == [
        "Image", "Patch embedding", "Positions", "Class token", *end,
    ]  # fmt: skip
    assert names(pool="gap", registers=0) == ["Image", "Patch embedding", "Positions", *end]


def test_shapes_and_counts_of_a_model_that_was_counted_by_hand(tree):
    weights = weights_of(tree, pool="cls", registers=2, position="learned")
    found: dict[str, Part] = {part.name: part for part in list_parts(weights)}
    # Patches of 4 x 4 pixels, a width of 8, an MLP of width 6.
    shapes = {name: part.shape for name, part in found.items()}
    assert shapes == {
        "Image": [8, 12, 1], "Patch embedding": [6, 8], "Class token": [7, 8], "Positions": [7, 8],
        "Registers": [9, 8], "Encoder block": [9, 8], "LayerNorm": [9, 8], "Pooling": [8],
        "Head": [5],
    }  # fmt: skip
    assert {name: part.parameters for name, part in found.items() if not part.parts} == {
        "Image": 0, "Patch embedding": 17 * 8, "Class token": 8, "Positions": 56, "Registers": 16,
        "LayerNorm": 16, "Pooling": 0, "Head": 45,
    }  # fmt: skip
    inner = [part.parameters for part in found["Encoder block"].parts]
    assert inner == [16, 9 * 24 + 72, 16, 9 * 6 + 7 * 8]
