"""The model as an ONNX graph, with logits, features and the attention of all layers.

It is the mathematics of `vit_hk/model/reference.py` in ONNX's operators. The batch size is free.
"""

import itertools
import json
import math

import haiku as hk
import numpy as np

from vit_hk.formats.onnx_graph import OPSET, Graph, Value, serialize
from vit_hk.formats.positions import with_learned_positions
from vit_hk.model.stem_layers import KERNEL_SIZE, StemLayer, stem_layers
from vit_hk.weights_metadata import WeightsInfo

FILE = "model.onnx"
BATCH = "batch"  # the size that is only known when the graph runs


def export_onnx(params: hk.Params, info: WeightsInfo, uint8: bool) -> dict[str, bytes]:
    """Return an ONNX file.

    Its input is `images` [batch, height, width, channels]: float32 and normalized, or with `uint8`
    bytes from 0 to 255, which the graph normalizes. Its outputs are `logits` [batch, C], `features`
    [batch, D] and `attention` [L, batch, H, query T, key T].

    Raises:
      UserError: the package onnx is not installed, or the model is too large for the format.
    """
    metadata = {
        "class_names": json.dumps(info.class_names, ensure_ascii=False),
        "image_shape": json.dumps(info.image_shape),
        "input": "uint8, normalized in the graph" if uint8 else "float32, (x / 255 - mean) / std",
        "mean": json.dumps(info.mean),
        "model": info.model.model_dump_json(),
        "opset": str(OPSET),
        "preparation": info.preparation.model_dump_json() if info.preparation else "null",
        "std": json.dumps(info.std),
    }
    s, num_tokens = info.model, info.num_tokens
    dtype = np.uint8 if uint8 else np.float32
    outputs = [
        Value("logits", np.float32, [BATCH, len(info.class_names)]),
        Value("features", np.float32, [BATCH, s.hidden_size]),
        Value("attention", np.float32, [s.num_layers, BATCH, s.num_heads, num_tokens, num_tokens]),
    ]
    graph = _VitGraph(*with_learned_positions(params, info)).build(uint8)
    inputs = [Value("images", dtype, [BATCH, *info.image_shape])]
    return {FILE: serialize(graph, inputs, outputs, metadata)}


class _VitGraph:
    """The graph of one model, whose positions are learned ones; see the glossary of shapes."""

    def __init__(self, params: hk.Params, info: WeightsInfo) -> None:
        self.params, self.info, self.settings = params, info, info.model
        self.graph = Graph()

    def build(self, uint8: bool) -> Graph:
        """Add all operators, and return the graph."""
        graph, s = self.graph, self.settings
        x = self.embed(self.normalize("images") if uint8 else "images")  # [B, T, D]
        attention = []
        for layer in range(s.num_layers):
            block = f"vit/block_{layer}"
            branch, weights = self.attend(f"{block}/attention", self.norm(f"{block}/norm_1", x))
            x = graph.add("Add", x, branch)
            branch = self.mlp(f"{block}/mlp", self.norm(f"{block}/norm_2", x))
            x = graph.add("Add", x, branch)
            attention.append(graph.add("Unsqueeze", weights, graph.integers(0)))
        graph.add("Concat", *attention, output="attention", axis=0)
        if s.pool == "cls":  # of each token the LayerNorm is its own, so one is enough
            first = graph.constant("first", 0, np.int64)
            self.norm("vit/norm", graph.add("Gather", x, first, axis=1), output="features")
        else:
            start, end = graph.integers(s.registers), graph.integers(self.info.num_tokens)
            normed = self.norm("vit/norm", x)
            patches = graph.add("Slice", normed, start, end, graph.integers(1))
            graph.add("ReduceMean", patches, graph.integers(1), output="features", keepdims=0)
        self.linear("vit/head", "features", output="logits")
        return graph

    def normalize(self, images: str) -> str:
        """Return float32 images from bytes, in the order of `Normalization`."""
        graph = self.graph
        x = graph.add("Cast", images, to=1)  # float32
        x = graph.add("Div", x, graph.constant("max_pixel", 255.0))
        x = graph.add("Sub", x, graph.constant("mean", self.info.mean))
        return graph.add("Div", x, graph.constant("std", self.info.std))

    def embed(self, images: str) -> str:
        """Return the tokens [B, T, D]: class token, registers, patches, with positions."""
        graph, s, tokens = self.graph, self.settings, self.params["vit"]
        side, channels = s.patch_size, self.info.image_shape[2]
        if layers := stem_layers(s.stem, s.patch_size, s.hidden_size):
            images, channels = self.convolve(images, layers), layers[-1].channels
            side //= math.prod(layer.downsampling for layer in layers)
        rows, columns = self.info.grid
        cut = graph.integers(-1, rows, side, columns, side, channels)
        x = graph.add("Reshape", images, cut)
        x = graph.add("Transpose", x, perm=[0, 1, 3, 2, 4, 5])
        patches = graph.integers(-1, rows * columns, side * side * channels)
        x = self.linear("vit/patches/linear", graph.add("Reshape", x, patches))  # [B, N, D]
        first, position = int(s.pool == "cls"), np.asarray(tokens["position"])
        x = graph.add("Add", x, graph.constant("vit/position", position[first:]))
        prefix = [np.asarray(tokens["class_token"]) + position[:1]] if first else []
        prefix += [np.asarray(tokens["registers"])] if s.registers else []
        if not prefix:
            return x
        learned = graph.constant("vit/class_token_and_registers", np.concatenate(prefix))
        batch = graph.add("Shape", x, start=0, end=1)
        shape = graph.add("Concat", batch, graph.integers(1, 1), axis=0)
        repeated = graph.add("Expand", learned, shape)  # [B, 1 + registers, D]
        return graph.add("Concat", repeated, x, axis=1)

    def convolve(self, images: str, layers: list[StemLayer]) -> str:
        """Return the output of the convolutional stem, channels last as its input."""
        graph, channels = self.graph, self.info.image_shape[2]
        images = graph.add("Transpose", images, perm=[0, 3, 1, 2])
        for index, layer in enumerate(layers):
            name = f"vit/patches/conv_{index}"
            w = np.asarray(self.params[name]["w"])
            w = w.reshape(KERNEL_SIZE, KERNEL_SIZE, channels, -1).transpose(3, 2, 0, 1)
            kernel = graph.constant(f"{name}/w", w)
            bias = graph.constant(f"{name}/b", self.params[name]["b"])
            strides = [layer.stride, layer.stride]
            x = graph.add("Conv", images, kernel, bias, pads=[1, 1, 1, 1], strides=strides)
            if layer.pool_stride > 1:
                window, strides = [KERNEL_SIZE, KERNEL_SIZE], [layer.pool_stride] * 2
                x = graph.add("MaxPool", x, kernel_shape=window, pads=[1, 1, 1, 1], strides=strides)
            if layer.has_norm:
                x = graph.add("Transpose", x, perm=[0, 2, 3, 1])
                x = self.norm(f"vit/patches/norm_{index}", x)
                x = graph.add("Transpose", x, perm=[0, 3, 1, 2])
            x = self.gelu(x)
            images = graph.add("Add", images, x) if layer.is_residual else x
            channels = layer.channels
        return graph.add("Transpose", images, perm=[0, 2, 3, 1])

    def attend(self, name: str, x: str) -> tuple[str, str]:
        """Return new tokens [B, T, D] and attention weights [B, H, T, T]."""
        graph, s = self.graph, self.settings
        width, head_size = s.hidden_size, s.hidden_size // s.num_heads
        qkv = self.linear(f"{name}/qkv", x)  # [B, T, 3D]
        heads = graph.integers(-1, self.info.num_tokens, s.num_heads, head_size)
        parts = []
        for start, end in itertools.pairwise([0, width, 2 * width, 3 * width]):
            span = graph.integers(start), graph.integers(end), graph.integers(2)
            part = graph.add("Reshape", graph.add("Slice", qkv, *span), heads)
            parts.append(graph.add("Transpose", part, perm=[0, 2, 1, 3]))
        q, k, v = parts  # [B, H, T, K]
        if s.qk_norm:
            q, k = self.norm(f"{name}/q_norm", q), self.norm(f"{name}/k_norm", k)
        q = graph.add("Mul", q, graph.constant("attention_scale", head_size**-0.5))
        k = graph.add("Transpose", k, perm=[0, 1, 3, 2])
        weights = graph.add("Softmax", graph.add("MatMul", q, k), axis=-1)
        mixed = graph.add("Transpose", graph.add("MatMul", weights, v), perm=[0, 2, 1, 3])
        tokens = graph.integers(-1, self.info.num_tokens, width)
        return self.linear(f"{name}/out", graph.add("Reshape", mixed, tokens)), weights

    def mlp(self, name: str, x: str) -> str:
        """Return linear, GELU, linear of each token."""
        return self.linear(f"{name}/out", self.gelu(self.linear(f"{name}/in", x)))

    def gelu(self, x: str) -> str:
        approximate = {"erf": "none", "tanh": "tanh"}[self.settings.gelu]
        return self.graph.add("Gelu", x, approximate=approximate)

    def linear(self, name: str, x: str, output: str = "") -> str:
        """Return x w + b."""
        graph, layer = self.graph, self.params[name]
        w, b = (graph.constant(f"{name}/{key}", layer[key]) for key in ("w", "b"))
        return graph.add("Add", graph.add("MatMul", x, w), b, output=output)

    def norm(self, name: str, x: str, output: str = "") -> str:
        """Return the LayerNorm over the last axis."""
        graph, layer, epsilon = self.graph, self.params[name], self.settings.norm_eps
        scale = graph.constant(f"{name}/scale", layer["scale"])
        offset = graph.constant(f"{name}/offset", layer["offset"])
        return graph.add(
            "LayerNormalization", x, scale, offset, output=output, axis=-1, epsilon=epsilon
        )
