"""The panel of the architecture: the parts of the model with their shapes and parameters."""

import dataclasses
import math

from vit_hk.explain.patch_attention import query_name
from vit_hk.model.stem_layers import KERNEL_SIZE, StemLayer, stem_layers
from vit_hk.report.panels.panel import Panel
from vit_hk.report.weights_file import WeightsFile


@dataclasses.dataclass(frozen=True)
class Part:
    """A part of the model.

    Attributes:
      name: what it is called.
      detail: what it does.
      shape: of its output for one image.
      parameters: number of its parameters, with those of all repetitions.
      links: texts and ids of the sections of the page that are about it.
      parts: what it consists of, each with the parameters of one repetition.
      repeats: how often it is repeated, each time with parameters of its own.
    """

    name: str
    detail: str
    shape: list[int]
    parameters: int
    links: tuple[tuple[str, str], ...] = ()
    parts: tuple["Part", ...] = ()
    repeats: int = 1


def architecture_panel(weights: WeightsFile) -> Panel:
    """Make the panel of the architecture from the settings and the shapes of a weights file."""
    return Panel("architecture", "The model, part by part", list_parts(weights))


def list_parts(weights: WeightsFile) -> list[Part]:
    """Return the parts in the order in which an image passes them; each parameter is in one."""
    model, width = weights.info.model, weights.info.model.hidden_size
    height, image_width, channels = weights.info.image_shape
    classes = len(weights.info.class_names)
    return [
        Part(
            "Image", f"{height} × {image_width} pixels, normalized",
            [height, image_width, channels], 0,
        ),
        *_list_embedding(weights),
        _encoder_block(weights),
        Part(
            "LayerNorm", "of each token", [weights.info.num_tokens, width],
            _count(weights, "vit/norm"),
        ),
        Part(
            "Pooling", f"only {query_name(model.pool)} is classified", [width], 0,
            (("features", "feature_map"),),
        ),
        Part(
            "Head", "a linear layer; its softmax is the probability of each class", [classes],
            _count(weights, "vit/head"), (("calibration", "reliability"), ("mistakes", "mistakes")),
        ),
    ]  # fmt: skip


def _count(weights: WeightsFile, name: str) -> int:
    """Return the number of parameters of a tensor, or of all tensors of a module."""
    inside = (s for key, s in weights.shapes.items() if key == name or key.startswith(f"{name}/"))
    return sum(map(math.prod, inside))


def _describe_stem(layers: list[StemLayer]) -> str:
    """Return the convolutions of a stem in words."""
    size = f"{KERNEL_SIZE} × {KERNEL_SIZE}"
    convolutions = (
        f"{len(layers)} convolutions of {size}" if layers[1:] else f"a {size} convolution"
    )
    norm = "LayerNorm and " if layers[0].has_norm else ""
    pooled = sum(layer.pool_stride > 1 for layer in layers)
    residual = sum(layer.is_residual for layer in layers)
    details = [f"{pooled} with max pooling"] if pooled else []
    details += [f"{residual} with a residual connection"] if residual else []
    return f"{convolutions} with {norm}GELU" + (f" ({', '.join(details)})" if details else "")


def _list_embedding(weights: WeightsFile) -> list[Part]:
    """Return what makes tokens of an image, in the order of `ViT._embed`."""
    model, width = weights.info.model, weights.info.model.hidden_size
    patches, with_class = weights.info.num_patches, weights.info.num_patches + (model.pool == "cls")
    size = model.patch_size
    linear = f"{patches} patches of {size} × {size} pixels, each mapped by a linear layer"
    stem = stem_layers(model.stem, size, width)
    cut = f"{_describe_stem(stem)}, then {patches} patches and a linear layer" if stem else linear
    similarity = (("similarity", "figure-positions"),)
    parts = [
        Part(
            "Patch embedding", cut,
            [patches, width], _count(weights, "vit/patches"), (("filters", "figure-filters"),),
        )
    ]  # fmt: skip
    if model.position == "sincos2d":
        detail = "sines and cosines of row and column, added to each patch; not learned"
        parts.append(Part("Positions", detail, [patches, width], 0, similarity))
    if model.pool == "cls":
        detail = "a learned token beside the patches"
        count = _count(weights, "vit/class_token")
        parts.append(Part("Class token", detail, [with_class, width], count))
    if model.position == "learned":
        count = _count(weights, "vit/position")
        parts.append(
            Part(
                "Positions", "learned, added to each token", [with_class, width], count, similarity
            )
        )
    if model.registers:
        detail = f"{model.registers} learned tokens that belong to no patch"
        count = _count(weights, "vit/registers")
        parts.append(Part("Registers", detail, [weights.info.num_tokens, width], count))
    return parts


def _encoder_block(weights: WeightsFile) -> Part:
    """Return the encoder block, which is repeated for each layer."""
    model = weights.info.model
    tokens = [weights.info.num_tokens, model.hidden_size]
    attention = (
        f"{model.num_heads} heads of width {model.hidden_size // model.num_heads}, "
        f"{'with LayerNorm of queries and keys, ' if model.qk_norm else ''}added to the tokens"
    )
    parts = (
        Part("LayerNorm", "of each token", tokens, _count(weights, "vit/block_0/norm_1")),
        Part(
            "Self-attention", attention, tokens, _count(weights, "vit/block_0/attention"),
            (
                ("explorer", "explorer"), ("mean", "mean_attention"), ("training", "training_maps"),
                ("distance", "figure-distance"), ("entropy", "figure-entropy"),
            ),
        ),
        Part("LayerNorm", "of each token", tokens, _count(weights, "vit/block_0/norm_2")),
        Part(
            "MLP", f"linear to {model.mlp_dim}, GELU, linear back, added to the tokens", tokens,
            _count(weights, "vit/block_0/mlp"),
        ),
    )  # fmt: skip
    total = sum(_count(weights, f"vit/block_{layer}") for layer in range(model.num_layers))
    return Part(
        "Encoder block", "attention moves information between tokens, the MLP works on each",
        tokens, total, (("flow", "flow"),), parts, model.num_layers,
    )  # fmt: skip
