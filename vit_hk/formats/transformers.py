"""Hugging Face transformers' ViTForImageClassification: the folder of its `from_pretrained`."""

import json
import math
from pathlib import Path
from typing import Any, Literal

import haiku as hk
from pydantic import BaseModel, Field
from safetensors.numpy import save

from vit_hk.formats.alternatives import check_can_hold
from vit_hk.formats.fields import (
    LEADING_AXIS,
    TRANSPOSED,
    Layout,
    read_params,
    write_tensors,
)
from vit_hk.formats.fields import Field as TensorField
from vit_hk.formats.files import CONFIG, TENSORS, find_in_folder, open_safetensors, read_config
from vit_hk.formats.imported import Imported, Overrides, describe, model_settings
from vit_hk.formats.positions import with_learned_positions
from vit_hk.formats.qkv import join_qkv, split_qkv
from vit_hk.formats.torch_layouts import linear, norm, patch_kernel
from vit_hk.params import Gelu, ModelSettings
from vit_hk.weights_metadata import WeightsInfo

PREPROCESSOR = "preprocessor_config.json"
ACTIVATIONS: dict[str, Gelu] = {
    "gelu": "erf", "gelu_python": "erf", "gelu_new": "tanh", "gelu_pytorch_tanh": "tanh",
}  # fmt: skip
HIDDEN_ACT = {"erf": "gelu", "tanh": "gelu_pytorch_tanh"}
BICUBIC = 3  # Pillow's number, which the preprocessor's configuration holds
PREFIX = "vit.encoder.layer"


class ViTConfig(BaseModel):
    """The keys of config.json that decide what the model computes, with the library's defaults."""

    model_type: Literal["vit"]
    hidden_size: int = Field(default=768, ge=1)
    num_hidden_layers: int = 12
    num_attention_heads: int = Field(default=12, ge=1)
    intermediate_size: int = 3072
    hidden_act: Literal["gelu", "gelu_python", "gelu_new", "gelu_pytorch_tanh"] = "gelu"
    layer_norm_eps: float = 1e-12
    image_size: int | tuple[int, int] = 224
    patch_size: int = Field(default=16, ge=1)
    num_channels: int = 3
    qkv_bias: Literal[True] = True
    num_labels: int | None = None
    # Others have no softmax over their classes.
    problem_type: Literal["single_label_classification"] | None = None
    id2label: dict[int, str] | None = None


class Preprocessor(BaseModel):
    """The keys of preprocessor_config.json that decide which numbers the model sees."""

    do_rescale: Literal[True] = True
    rescale_factor: float = Field(default=1 / 255, ge=0.9999 / 255, le=1.0001 / 255)
    do_normalize: bool = True
    image_mean: list[float] | float | None = None
    image_std: list[float] | float | None = None


QKV_WEIGHTS = Layout(
    lambda w: tuple(part.T for part in split_qkv(w)),
    lambda *parts: join_qkv([part.T for part in parts]),
)
QKV_BIASES = Layout(split_qkv, lambda *parts: join_qkv(parts))


def fields(settings: ModelSettings) -> list[TensorField]:
    """Return the tensors of a model with learned positions."""
    embeddings = "vit.embeddings"
    projection = f"{embeddings}.patch_embeddings.projection"
    found = [
        TensorField("vit", "class_token", (f"{embeddings}.cls_token",), LEADING_AXIS),
        TensorField("vit", "position", (f"{embeddings}.position_embeddings",), LEADING_AXIS),
        *linear("vit/patches/linear", projection, patch_kernel(settings.patch_size)),
    ]
    for layer in range(settings.num_layers):
        ours, theirs = f"vit/block_{layer}", f"{PREFIX}.{layer}"
        qkv = [f"{theirs}.attention.attention.{part}" for part in ("query", "key", "value")]
        found += [
            *norm(f"{ours}/norm_1", f"{theirs}.layernorm_before"),
            TensorField(
                f"{ours}/attention/qkv", "w", tuple(f"{key}.weight" for key in qkv), QKV_WEIGHTS
            ),
            TensorField(
                f"{ours}/attention/qkv", "b", tuple(f"{key}.bias" for key in qkv), QKV_BIASES
            ),
            *linear(f"{ours}/attention/out", f"{theirs}.attention.output.dense", TRANSPOSED),
            *norm(f"{ours}/norm_2", f"{theirs}.layernorm_after"),
            *linear(f"{ours}/mlp/in", f"{theirs}.intermediate.dense", TRANSPOSED),
            *linear(f"{ours}/mlp/out", f"{theirs}.output.dense", TRANSPOSED),
        ]
    return [
        *found,
        *norm("vit/norm", "vit.layernorm"),
        *linear("vit/head", "classifier", TRANSPOSED),
    ]


def export_transformers(params: hk.Params, info: WeightsInfo) -> dict[str, bytes]:
    """Return the files that ViTForImageClassification.from_pretrained loads.

    Raises:
      UserError: transformers' ViT has no place for a setting.
    """
    check_can_hold("transformers", info.model)
    params, info = with_learned_positions(params, info)
    return {
        CONFIG: _to_json(_config(info)),
        PREPROCESSOR: _to_json(_preprocessor(info)),
        TENSORS: save(write_tensors(fields(info.model), params), {"format": "pt"}),
    }


def import_transformers(folder: Path, overrides: Overrides) -> Imported:
    """Read a folder that ViTForImageClassification.save_pretrained wrote.

    Raises:
      UserError: a file is missing or damaged, or the model is no plain Vision Transformer.
    """
    tensors = find_in_folder(folder, TENSORS)
    path = find_in_folder(folder, CONFIG)
    config = read_config(path, ViTConfig)
    file = open_safetensors(tensors)
    size = config.image_size
    height, width = (size, size) if isinstance(size, int) else size
    settings = model_settings(
        path,
        patch_size=config.patch_size,
        hidden_size=config.hidden_size,
        num_layers=config.num_hidden_layers,
        num_heads=config.num_attention_heads,
        mlp_dim=config.intermediate_size,
        pool="cls",
        qk_norm=False,
        registers=0,
        gelu=ACTIVATIONS[config.hidden_act],
        norm_eps=config.layer_norm_eps,
    )
    image_shape = height, width, config.num_channels
    num_classes = math.prod(file.shapes.get("classifier.bias", (0,)))
    mean, std = _normalization(folder)
    info = describe(
        path, "transformers", settings, image_shape, _class_names(config, num_classes), mean, std,
        "stretch", overrides,
    )  # fmt: skip
    params = read_params(fields(settings), settings, image_shape, num_classes, file)
    return Imported(params, info)


def _to_json(tree: dict[str, Any]) -> bytes:
    return (json.dumps(tree, indent=2, ensure_ascii=False) + "\n").encode()


def _config(info: WeightsInfo) -> dict[str, Any]:
    s, (height, width, channels) = info.model, info.image_shape
    return {
        "architectures": ["ViTForImageClassification"],
        "model_type": "vit",
        "dtype": "float32",
        "hidden_size": s.hidden_size,
        "num_hidden_layers": s.num_layers,
        "num_attention_heads": s.num_heads,
        "intermediate_size": s.mlp_dim,
        "hidden_act": HIDDEN_ACT[s.gelu],
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "layer_norm_eps": s.norm_eps,
        "image_size": height if height == width else [height, width],
        "patch_size": s.patch_size,
        "num_channels": channels,
        "qkv_bias": True,
        "id2label": {str(number): name for number, name in enumerate(info.class_names)},
        "label2id": {name: number for number, name in enumerate(info.class_names)},
    }


def _preprocessor(info: WeightsInfo) -> dict[str, Any]:
    height, width, _ = info.image_shape
    return {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": True,
        "size": {"height": height, "width": width},
        "resample": BICUBIC,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": info.mean,
        "image_std": info.std,
    }


def _normalization(folder: Path) -> tuple[list[float] | None, list[float] | None]:
    """Return mean and standard deviation of the preprocessor's configuration, if there is one."""
    path = folder / PREPROCESSOR
    if not path.is_file():
        return None, None
    config = read_config(path, Preprocessor)
    if not config.do_normalize:
        return [0.0], [1.0]
    mean, std = config.image_mean, config.image_std
    return (
        [mean] if isinstance(mean, float) else mean,
        [std] if isinstance(std, float) else std,
    )


def _class_names(config: ViTConfig, num_classes: int) -> list[str]:
    names = config.id2label or {}
    if sorted(names) == list(range(num_classes)):
        return [names[number] for number in range(num_classes)]
    return [str(number) for number in range(num_classes)]
