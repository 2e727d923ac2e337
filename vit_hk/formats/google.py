"""The NPZ of Google's Vision Transformers (github.com/google-research/vision_transformer).

Its model computes GELU with tanh and LayerNorm with an epsilon of 1e-6; pixels lie from -1 to 1.
"""

import io
import math
from pathlib import Path

import haiku as hk
import numpy as np

from vit_hk.errors import UserError, find_file_problem
from vit_hk.formats.alternatives import FIXED, alternatives, check_can_hold
from vit_hk.formats.fields import AS_IS, LEADING_AXIS, Field, Layout, read_params, write_tensors
from vit_hk.formats.files import open_npz
from vit_hk.formats.imported import (
    DEFAULT_MEAN,
    DEFAULT_STD,
    Imported,
    Overrides,
    describe,
    model_settings,
)
from vit_hk.formats.positions import with_learned_positions
from vit_hk.formats.qkv import join_qkv, split_qkv
from vit_hk.params import ModelSettings
from vit_hk.weights_metadata import WeightsInfo

FILE = "model.npz"
NORM_EPS = FIXED["google"]["norm_eps"]
MAX_CLASSES = 1_000_000  # ImageNet-21k has 21,843
BLOCK = "Transformer/encoderblock_"
ATTENTION = "MultiHeadDotProductAttention_1"


def fields(settings: ModelSettings) -> list[Field]:
    """Return the arrays of a model with learned positions."""
    heads = settings.num_heads
    position = "Transformer/posembed_input/pos_embedding"
    found = [
        *_linear("vit/patches/linear", "embedding", _patch_kernel(settings.patch_size)),
        Field("vit", "position", (position,), LEADING_AXIS),
    ]
    if settings.pool == "cls":
        found.append(Field("vit", "class_token", ("cls",), LEADING_AXIS))
    for layer in range(settings.num_layers):
        ours, theirs = f"vit/block_{layer}", f"{BLOCK}{layer}"
        attention = f"{theirs}/{ATTENTION}"
        qkv = [f"{attention}/{part}" for part in ("query", "key", "value")]
        weights, biases = (tuple(f"{key}/{name}" for key in qkv) for name in ("kernel", "bias"))
        found += [
            *_norm(f"{ours}/norm_1", f"{theirs}/LayerNorm_0"),
            Field(f"{ours}/attention/qkv", "w", weights, _qkv_weights(heads)),
            Field(f"{ours}/attention/qkv", "b", biases, _qkv_biases(heads)),
            *_linear(f"{ours}/attention/out", f"{attention}/out", _out_kernel(heads)),
            *_norm(f"{ours}/norm_2", f"{theirs}/LayerNorm_2"),
            *_linear(f"{ours}/mlp/in", f"{theirs}/MlpBlock_3/Dense_0", AS_IS),
            *_linear(f"{ours}/mlp/out", f"{theirs}/MlpBlock_3/Dense_1", AS_IS),
        ]
    return [
        *found,
        *_norm("vit/norm", "Transformer/encoder_norm"),
        *_linear("vit/head", "head", AS_IS),
    ]


def export_google(params: hk.Params, info: WeightsInfo) -> dict[str, bytes]:
    """Return the NPZ file of Google's model.

    It has no place for a normalization, so that of the images becomes part of the patch embedding:
    the file is for pixels from -1 to 1, as Google's code feeds them.

    Raises:
      UserError: Google's model computes something else than a setting asks for.
    """
    check_can_hold("google", info.model)
    height, width, _ = info.image_shape
    if height != width:
        raise UserError(
            f"images have {height} x {width} pixels, and Google's file, which holds no shape, is "
            f"for square ones; {alternatives('google', info.model)}"
        )
    params, info = with_learned_positions(params, info)
    params = {**params, "vit/patches/linear": _fold_normalization(params, info)}
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **write_tensors(fields(info.model), params))
    return {FILE: buffer.getvalue()}


def import_google(path: Path, overrides: Overrides) -> Imported:
    """Read an NPZ file of Google's model, for square images.

    Raises:
      UserError: the file is missing or damaged, or holds another model.
    """
    if problem := find_file_problem(path):
        raise UserError(f"{path} is {problem}; name an .npz file of Google's Vision Transformers")
    file = open_npz(path)
    kernel = file.shapes.get("embedding/kernel", ())
    query = file.shapes.get(f"{BLOCK}0/{ATTENTION}/query/kernel", ())
    positions = file.shapes.get("Transformer/posembed_input/pos_embedding", ())
    hidden = file.shapes.get(f"{BLOCK}0/MlpBlock_3/Dense_0/bias", ())
    if [len(shape) for shape in (kernel, query, positions, hidden)] != [4, 3, 3, 1]:
        raise UserError(f"{path} does not hold the arrays of Google's Vision Transformer")
    if "conv_root/kernel" in file.shapes:
        raise UserError(
            f"{path}: array 'conv_root/kernel' is of a ResNet before the patches, which this model "
            "has not; take a file without R in its name, such as ViT-B_16"
        )
    if any(key.startswith("pre_logits/") for key in file.shapes):
        raise UserError(
            f"{path}: array 'pre_logits/kernel' has no place in this model; take a file that was "
            "fine-tuned, which has none"
        )
    has_class_token = "cls" in file.shapes
    settings = model_settings(
        path,
        patch_size=kernel[0],
        hidden_size=kernel[3],
        num_layers=len({key.split("/")[1] for key in file.shapes if key.startswith(BLOCK)}),
        num_heads=query[1],
        mlp_dim=hidden[0],
        pool="cls" if has_class_token else "gap",
        qk_norm=False,
        registers=0,
        gelu="tanh",
        norm_eps=NORM_EPS,
    )
    image_shape = _square_image(path, positions[1] - has_class_token, settings, kernel[2])
    num_classes = math.prod(file.shapes.get("head/bias", (0,)))
    if num_classes > MAX_CLASSES:
        raise UserError(f"{path} claims {num_classes:,} classes; at most {MAX_CLASSES:,} are read")
    names = [str(number) for number in range(num_classes)]
    info = describe(path, "google", settings, image_shape, names, None, None, "stretch", overrides)
    params = read_params(fields(settings), settings, image_shape, num_classes, file)
    return Imported(params, info)


def _fold_normalization(params: hk.Params, info: WeightsInfo) -> dict[str, np.ndarray]:
    """Return the patch embedding for pixels from -1 to 1, in float64 and rounded once.

    With pixels y of mean 0.5 and deviation 0.5, (x - mean) / std is y * scale + shift.
    """
    linear = params["vit/patches/linear"]
    if set(info.mean) == {DEFAULT_MEAN} and set(info.std) == {DEFAULT_STD}:
        return dict(linear)
    mean, std = np.array(info.mean), np.array(info.std)
    scale, shift = DEFAULT_STD / std, (DEFAULT_MEAN - mean) / std  # of each channel
    w = np.float64(linear["w"]).reshape(-1, len(mean), linear["w"].shape[-1])
    b = linear["b"] + np.einsum("pcd,c->d", w, shift)
    w = (w * scale[:, np.newaxis]).reshape(linear["w"].shape)
    return {"w": w.astype(np.float32), "b": b.astype(np.float32)}


def _square_image(
    path: Path, num_patches: int, settings: ModelSettings, channels: int
) -> tuple[int, int, int]:
    side = math.isqrt(max(0, num_patches))
    if side * side != num_patches:
        raise UserError(
            f"{path} has positions of {num_patches} patches, which fill no square; the file does "
            "not say of which shape its images are"
        )
    return side * settings.patch_size, side * settings.patch_size, channels


def _linear(module: str, key: str, kernel: Layout) -> list[Field]:
    return [
        Field(module, "w", (f"{key}/kernel",), kernel),
        Field(module, "b", (f"{key}/bias",), AS_IS),
    ]


def _norm(module: str, key: str) -> list[Field]:
    return [
        Field(module, "scale", (f"{key}/scale",), AS_IS),
        Field(module, "offset", (f"{key}/bias",), AS_IS),
    ]


def _patch_kernel(patch_size: int) -> Layout:
    """Return the layout of [P * P * channels, D] as [P, P, channels, D]."""
    return Layout(
        lambda w: (w.reshape(patch_size, patch_size, -1, w.shape[-1]),),
        lambda kernel: kernel.reshape(-1, kernel.shape[-1]),
    )


def _qkv_weights(heads: int) -> Layout:
    """Return the layout of [D, 3D] as three kernels [D, H, K]."""
    return Layout(
        lambda w: tuple(part.reshape(len(w), heads, -1) for part in split_qkv(w)),
        lambda *parts: join_qkv([part.reshape(len(part), -1) for part in parts]),
    )


def _qkv_biases(heads: int) -> Layout:
    """Return the layout of [3D] as three biases [H, K]."""
    return Layout(
        lambda b: tuple(part.reshape(heads, -1) for part in split_qkv(b)),
        lambda *parts: join_qkv([part.reshape(-1) for part in parts]),
    )


def _out_kernel(heads: int) -> Layout:
    """Return the layout of [D, D] as a kernel [H, K, D]."""
    return Layout(
        lambda w: (w.reshape(heads, -1, w.shape[-1]),),
        lambda kernel: kernel.reshape(-1, kernel.shape[-1]),
    )
