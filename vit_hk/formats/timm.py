"""timm's VisionTransformer: a folder with config.json and model.safetensors, as on its hub.

`timm.create_model("local-dir:FOLDER", pretrained=True)` loads it.
"""

import json
import math
import re
from pathlib import Path
from typing import Any, Literal

import haiku as hk
import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator
from safetensors.numpy import save

from vit_hk.errors import UserError, shorten
from vit_hk.formats.alternatives import FIXED, alternatives, check_can_hold
from vit_hk.formats.fields import (
    LEADING_AXIS,
    TRANSPOSED,
    read_params,
    write_tensors,
)
from vit_hk.formats.fields import Field as TensorField
from vit_hk.formats.files import (
    CONFIG,
    TENSORS,
    TensorFile,
    find_in_folder,
    open_safetensors,
    read_config,
)
from vit_hk.formats.imported import Imported, Overrides, describe, model_settings
from vit_hk.formats.positions import with_learned_positions
from vit_hk.formats.torch_layouts import linear, norm, patch_kernel
from vit_hk.params import ModelSettings, Resize
from vit_hk.weights_metadata import WeightsInfo

NORM_EPS = FIXED["timm"]["norm_eps"]  # the only one that timm's configuration can name
ACTIVATIONS = {"erf": "gelu", "tanh": "gelu_tanh"}
BASE_ARCHITECTURE = "vit_base_patch16_224"  # plain; model_args state all that differs from it
# Architectures of timm that are plain; the number of heads is in no tensor.
PLAIN_ARCHITECTURE = re.compile(
    r"(?:vit|deit)_(tiny|small|base|large|huge|giant|gigantic)_patch\d+_\d+"
)
# timm's crop_mode; "border" fills with the mean colour, not with the background.
RESIZE: dict[str, Resize] = {"center": "crop", "squash": "stretch", "border": "pad"}
HEADS = {"tiny": 3, "small": 6, "base": 12, "large": 16, "huge": 16, "giant": 16, "gigantic": 16}


class ModelArgs(BaseModel):
    """The arguments of timm's VisionTransformer that this model knows; others are refused.

    Sizes that tensors show are read from these; the arguments may repeat them. An argument that
    makes another model may state what a plain one has.
    """

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    img_size: int | tuple[int, int] | None = None
    patch_size: int | tuple[int, int] | None = None
    in_chans: int | None = None
    num_classes: int | None = None
    global_pool: Literal["token", "avg"] | None = None
    embed_dim: int | None = None
    depth: int | None = None
    num_heads: int | None = Field(default=None, ge=1)
    mlp_ratio: float | None = None
    qk_norm: bool | None = None
    class_token: bool | None = None
    reg_tokens: int | None = None
    no_embed_class: bool | None = None
    fc_norm: bool | None = None
    act_layer: Literal["gelu", "gelu_tanh"] | None = None
    norm_layer: Literal["layernorm"] | None = None
    qkv_bias: Literal[True] = True
    proj_bias: Literal[True] = True
    scale_attn_norm: Literal[False] = False
    scale_mlp_norm: Literal[False] = False
    init_values: None = None
    pos_embed: Literal["learn"] = "learn"
    pre_norm: Literal[False] = False
    final_norm: Literal[True] = True
    pool_include_prefix: Literal[False] = False
    embed_norm_layer: None = None
    # These change nothing that a trained model computes of images of its own size.
    dynamic_img_size: bool | None = None
    dynamic_img_pad: bool | None = None
    strict_img_size: bool | None = None
    weight_init: str | None = None
    fix_init: bool | None = None
    drop_rate: float | None = None
    pos_drop_rate: float | None = None
    patch_drop_rate: float | None = None
    proj_drop_rate: float | None = None
    attn_drop_rate: float | None = None
    drop_path_rate: float | None = None


LabelNames = list[str] | dict[int, str]  # of all classes, or by the number of a class, with gaps


class PretrainedConfig(BaseModel):
    """What timm's configuration says about images and classes."""

    input_size: tuple[int, int, int]  # channels, height, width
    mean: list[float] | None = None
    std: list[float] | None = None
    crop_mode: str = "center"
    label_names: LabelNames | None = None


class TimmConfig(BaseModel):
    """The fields of timm's config.json that an import reads."""

    model_config = ConfigDict(protected_namespaces=())

    architecture: str
    global_pool: Literal["token", "avg"] = "token"
    label_names: LabelNames | None = None
    model_args: ModelArgs = ModelArgs()
    pretrained_cfg: PretrainedConfig

    @model_validator(mode="before")
    @classmethod
    def _nest(cls, config: Any) -> Any:
        """Return a configuration as timm writes it today; before, all keys were at its top."""
        if not isinstance(config, dict) or "architecture" not in config:
            return config
        old = {"label_names": config.get("labels"), **config}
        return {"pretrained_cfg": old, **config}


def fields(settings: ModelSettings) -> list[TensorField]:
    """Return the tensors of a model with learned positions, without those of its registers."""
    found = [
        *linear("vit/patches/linear", "patch_embed.proj", patch_kernel(settings.patch_size)),
        TensorField("vit", "position", ("pos_embed",), LEADING_AXIS),
    ]
    if settings.pool == "cls":
        found.append(TensorField("vit", "class_token", ("cls_token",), LEADING_AXIS))
    if settings.registers:
        found.append(TensorField("vit", "registers", ("reg_token",), LEADING_AXIS))
    for layer in range(settings.num_layers):
        ours, theirs = f"vit/block_{layer}", f"blocks.{layer}"
        found += norm(f"{ours}/norm_1", f"{theirs}.norm1")
        found += linear(f"{ours}/attention/qkv", f"{theirs}.attn.qkv", TRANSPOSED)
        if settings.qk_norm:
            found += norm(f"{ours}/attention/q_norm", f"{theirs}.attn.q_norm")
            found += norm(f"{ours}/attention/k_norm", f"{theirs}.attn.k_norm")
        found += linear(f"{ours}/attention/out", f"{theirs}.attn.proj", TRANSPOSED)
        found += norm(f"{ours}/norm_2", f"{theirs}.norm2")
        found += linear(f"{ours}/mlp/in", f"{theirs}.mlp.fc1", TRANSPOSED)
        found += linear(f"{ours}/mlp/out", f"{theirs}.mlp.fc2", TRANSPOSED)
    return [*found, *norm("vit/norm", "norm"), *linear("vit/head", "head", TRANSPOSED)]


def export_timm(params: hk.Params, info: WeightsInfo) -> dict[str, bytes]:
    """Return the files of a timm model: config.json and model.safetensors.

    Raises:
      UserError: timm's model or its configuration has no place for a setting.
    """
    check_can_hold("timm", info.model)
    if int(info.model.hidden_size * _mlp_ratio(info.model)) != info.model.mlp_dim:
        raise UserError(
            f"model.mlp_dim is {info.model.mlp_dim}, which no mlp_ratio of timm gives exactly; "
            f"{alternatives('timm', info.model)}"
        )
    params, info = with_learned_positions(params, info)
    settings = info.model
    tensors = write_tensors(fields(settings), params)
    if settings.registers:  # timm adds positions to registers too; here they have none
        first = settings.pool == "cls"
        position = tensors["pos_embed"]
        zeros = np.zeros((1, settings.registers, settings.hidden_size), np.float32)
        parts = [position[:, :first], zeros, position[:, first:]]
        tensors["pos_embed"] = np.concatenate(parts, axis=1)
    config = json.dumps(_config(info), indent=2, ensure_ascii=False) + "\n"
    return {CONFIG: config.encode(), TENSORS: save(tensors, {"format": "pt"})}


def import_timm(folder: Path, overrides: Overrides) -> Imported:
    """Read a folder that timm wrote, or that its hub offers.

    Raises:
      UserError: a file is missing or damaged, or the model is no plain Vision Transformer.
    """
    tensors = find_in_folder(folder, TENSORS)
    path = find_in_folder(folder, CONFIG)
    config = read_config(path, TimmConfig)
    file = open_safetensors(tensors)
    _, height, width = config.pretrained_cfg.input_size
    if isinstance(config.model_args.img_size, int):
        height = width = config.model_args.img_size
    elif config.model_args.img_size:
        height, width = config.model_args.img_size
    settings = _settings(path, config, file)
    channels = file.shapes["patch_embed.proj.weight"][1]  # input_size may be that of older weights
    image_shape = height, width, channels
    num_classes = math.prod(file.shapes.get("head.bias", (0,)))
    file = _without_register_positions(file, settings, settings.num_patches(image_shape))
    cfg = config.pretrained_cfg
    names = _class_names(config, num_classes)
    mean, std = (_of_grey(values) if channels == 1 else values for values in (cfg.mean, cfg.std))
    resize = RESIZE.get(cfg.crop_mode, "crop")
    info = describe(
        path, "timm", settings, image_shape, names, mean, std, resize, overrides,
        fills_with_mean=True,
    )  # fmt: skip
    params = read_params(fields(settings), settings, image_shape, num_classes, file)
    return Imported(params, info)


def _mlp_ratio(settings: ModelSettings) -> float:
    """Return the ratio of which timm computes int(D * ratio), which rounds down."""
    ratio = settings.mlp_dim / settings.hidden_size
    return (
        ratio if int(settings.hidden_size * ratio) == settings.mlp_dim else np.nextafter(ratio, 1e9)
    )


def _config(info: WeightsInfo) -> dict[str, Any]:
    s, (height, width, channels) = info.model, info.image_shape
    pool = {"cls": "token", "gap": "avg"}[s.pool]
    model_args = {
        "img_size": [height, width],
        "patch_size": s.patch_size,
        "in_chans": channels,
        "num_classes": len(info.class_names),
        "global_pool": pool,
        "embed_dim": s.hidden_size,
        "depth": s.num_layers,
        "num_heads": s.num_heads,
        "mlp_ratio": float(_mlp_ratio(s)),
        "qk_norm": s.qk_norm,
        "class_token": s.pool == "cls",
        "reg_tokens": s.registers,
        "fc_norm": False,  # the LayerNorm comes before the mean over the patches
        "act_layer": ACTIVATIONS[s.gelu],
        "norm_layer": "layernorm",
    }
    return {
        "architecture": BASE_ARCHITECTURE,
        "num_classes": len(info.class_names),
        "num_features": s.hidden_size,
        "global_pool": pool,
        "model_args": model_args,
        "pretrained_cfg": {
            "custom_load": False,
            "input_size": [channels, height, width],
            "fixed_input_size": True,
            "interpolation": "bicubic",
            "crop_pct": 1.0,
            "crop_mode": _crop_mode(info),
            "mean": info.mean,
            "std": info.std,
            "num_classes": len(info.class_names),
            "pool_size": None,
            "first_conv": "patch_embed.proj",
            "classifier": "head",
            "label_names": info.class_names,
        },
    }


def _crop_mode(info: WeightsInfo) -> str:
    """Return how timm brings images of another aspect ratio to the shape of the model's."""
    resize = info.preparation.resize if info.preparation else "crop"
    return next(mode for mode, ours in RESIZE.items() if ours == resize)


def _class_names(config: TimmConfig, num_classes: int) -> list[str]:
    """Return the names of the classes; one without a name has its number."""
    # In timm's order: those of a model that was fine-tuned are at the top.
    names = config.label_names or config.pretrained_cfg.label_names or {}
    if isinstance(names, list):
        names = dict(enumerate(names)) if len(names) == num_classes else {}
    if not names.keys() <= set(range(num_classes)):  # of another head
        names = {}
    return [names.get(number, str(number)) for number in range(num_classes)]


def _of_grey(values: list[float] | None) -> list[float] | None:
    """Return the mean over the channels, as timm does where it makes a model for grey images."""
    return [float(np.mean(values))] if values else values


def _settings(path: Path, config: TimmConfig, file: TensorFile) -> ModelSettings:
    """Return the architecture, sizes from the tensors and the rest from the configuration."""
    args = config.model_args
    plain = PLAIN_ARCHITECTURE.fullmatch(config.architecture)
    if not plain:
        raise UserError(
            f"{path}: architecture is {shorten(config.architecture)}; allowed: a plain Vision "
            f"Transformer, such as {BASE_ARCHITECTURE}"
        )
    kernel = file.shapes.get("patch_embed.proj.weight", ())
    hidden = file.shapes.get("blocks.0.mlp.fc1.bias", ())
    registers = file.shapes.get("reg_token", (1, 0, kernel[0] if kernel else 0))
    if (len(kernel), len(hidden), len(registers)) != (4, 1, 3):
        raise UserError(f"{file.path} does not hold the tensors of timm's VisionTransformer")
    blocks = {key.split(".")[1] for key in file.shapes if key.startswith("blocks.")}
    return model_settings(
        path,
        patch_size=kernel[2],
        hidden_size=kernel[0],
        num_layers=len(blocks),
        num_heads=args.num_heads or HEADS[plain[1]],
        mlp_dim=hidden[0],
        pool={"token": "cls", "avg": "gap"}[args.global_pool or config.global_pool],
        qk_norm="blocks.0.attn.q_norm.weight" in file.shapes,
        registers=registers[1],
        gelu={name: kind for kind, name in ACTIVATIONS.items()}[args.act_layer or "gelu"],
        norm_eps=NORM_EPS,
    )


def _without_register_positions(
    file: TensorFile, settings: ModelSettings, num_patches: int
) -> TensorFile:
    """Return the file with the positions that this model has: of the class token and patches.

    timm's positions may be those of the patches alone, or include registers, to which they are
    added here.
    """
    shape = file.shapes.get("pos_embed", ())
    num_class, num_registers = int(settings.pool == "cls"), settings.registers
    prefix = num_class + num_registers
    if len(shape) != 3 or not prefix or shape[1] not in (num_patches, prefix + num_patches):
        return file  # as it is, or wrong, which is found later
    has_prefix = shape[1] > num_patches

    def load(name: str) -> np.ndarray:
        tensor = file.load(name)
        if name == "pos_embed" and has_prefix:
            return np.concatenate([tensor[:, :num_class], tensor[:, prefix:]], axis=1)
        if name == "pos_embed":
            return np.pad(tensor, [(0, 0), (num_class, 0), (0, 0)])
        if name == "reg_token" and has_prefix:
            return tensor + file.load("pos_embed")[:, num_class:prefix]
        return tensor

    shapes = {**file.shapes, "pos_embed": (shape[0], num_class + num_patches, shape[2])}
    return TensorFile(file.path, shapes, load)
