"""The same weights in torch's own modules must give the same numbers.

torch computes in float64, so that the differences are the model's rounding alone.
"""

import haiku as hk
import jax
import numpy as np
import pytest
import torch

from vit_hk.model.attention import SelfAttention
from vit_hk.model.encoder import Block, gelu
from vit_hk.model.normalization import layer_norm
from vit_hk.model.patches import PatchEmbedding
from vit_hk.model.vit import make_model

EPS = 1e-6


def to_torch(x):
    return torch.tensor(np.asarray(x), dtype=torch.float64)


def normal(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def assert_close(actual, expected):
    if isinstance(expected, torch.Tensor):
        expected = expected.detach().numpy()
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


def copy_linear(target, weights):
    target.weight.copy_(to_torch(weights["w"]).T)
    target.bias.copy_(to_torch(weights["b"]))


def copy_norm(target, weights):
    target.weight.copy_(to_torch(weights["scale"]))
    target.bias.copy_(to_torch(weights["offset"]))


def copy_attention(target, params, name):
    target.in_proj_weight.copy_(to_torch(params[f"{name}/qkv"]["w"]).T)
    target.in_proj_bias.copy_(to_torch(params[f"{name}/qkv"]["b"]))
    copy_linear(target.out_proj, params[f"{name}/out"])


@torch.no_grad()
def copy_block(target, params, name):
    copy_attention(target.self_attn, params, f"{name}/attention")
    copy_norm(target.norm1, params[f"{name}/norm_1"])
    copy_norm(target.norm2, params[f"{name}/norm_2"])
    copy_linear(target.linear1, params[f"{name}/mlp/in"])
    copy_linear(target.linear2, params[f"{name}/mlp/out"])


@torch.no_grad()
def copy_patches(target, weights, patch, channels):
    kernel = to_torch(weights["w"]).reshape(patch, patch, channels, -1)
    target.weight.copy_(kernel.permute(3, 2, 0, 1))
    target.bias.copy_(to_torch(weights["b"]))


def torch_layer(width, heads, mlp_dim):
    # In training mode, which with dropout 0 computes the same, torch takes no fast path.
    return torch.nn.TransformerEncoderLayer(
        width,
        heads,
        mlp_dim,
        dropout=0.0,
        activation="gelu",
        layer_norm_eps=EPS,
        batch_first=True,
        norm_first=True,
        dtype=torch.float64,
    )


def attend(layer, x):
    weights = layer.self_attn(*[layer.norm1(x)] * 3, average_attn_weights=False)[1]
    return layer(x), weights


def test_gelu_is_the_exact_one():
    x = np.linspace(-5, 5, 101, dtype=np.float32)
    # The tanh approximation is off by up to 5e-4.
    np.testing.assert_allclose(gelu(x), torch.nn.functional.gelu(to_torch(x)), atol=1e-6)


def test_layer_norm_equals_torch_with_eps_1e_6(random_params):
    # Deviations around 1e-3, where an eps of 1e-5 would make the result several times smaller.
    x = normal(5, 8) * 1e-3
    transformed = hk.without_apply_rng(hk.transform(lambda x: layer_norm(x, "norm")))
    params = random_params(transformed, x)
    scale, offset = to_torch(params["norm"]["scale"]), to_torch(params["norm"]["offset"])
    expected = torch.nn.functional.layer_norm(to_torch(x), (8,), scale, offset, EPS)
    assert_close(transformed.apply(params, x), expected)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("patch", "height", "width"), [(2, 6, 4), (3, 3, 9), (1, 2, 3)])
def test_patch_embedding_is_a_strided_convolution(random_params, patch, height, width, channels):
    images = normal(2, height, width, channels)
    transformed = hk.without_apply_rng(hk.transform(PatchEmbeddingOf(patch, 5)))
    params = random_params(transformed, images)
    convolution = torch.nn.Conv2d(channels, 5, patch, stride=patch, dtype=torch.float64)
    copy_patches(convolution, params["patches/linear"], patch, channels)
    grid = convolution(to_torch(images).permute(0, 3, 1, 2))
    assert_close(transformed.apply(params, images), grid.flatten(2).transpose(1, 2))


class PatchEmbeddingOf:
    """hk.transform wants a function that makes the module when it is called."""

    def __init__(self, patch, width, stem="linear"):
        self.patch, self.width, self.stem = patch, width, stem

    def __call__(self, images):
        return PatchEmbedding(self.patch, self.width, self.stem, name="patches")(images)


@pytest.mark.parametrize(
    ("patch", "height", "width", "channels", "stem", "side"),
    # Strides and channels of the convolutions by hand, for D = 16, and the side of what is left.
    [
        (1, 3, 5, 1, [(1, 16)], 1),
        (2, 6, 4, 3, [(2, 16)], 1),
        (3, 3, 9, 2, [(1, 8)], 3),
        (8, 8, 16, 1, [(2, 8), (2, 8), (2, 16)], 1),
        (12, 24, 12, 3, [(2, 8), (2, 8)], 3),
        (7, 14, 7, 1, [(1, 8)], 7),
    ],
)
def test_convolutional_stem_equals_torch(random_params, patch, height, width, channels, stem, side):
    images = normal(2, height, width, channels)
    transformed = hk.without_apply_rng(hk.transform(PatchEmbeddingOf(patch, 16, "conv")))
    params = random_params(transformed, images, deviation=0.2)
    x, before = to_torch(images).permute(0, 3, 1, 2), channels
    for index, (stride, after) in enumerate(stem):
        convolution = torch.nn.Conv2d(before, after, 3, stride, padding=1, dtype=torch.float64)
        copy_patches(convolution, params[f"patches/conv_{index}"], 3, before)
        x, before = torch.nn.functional.gelu(convolution(x)), after
    cut = torch.nn.Conv2d(before, 16, side, stride=side, dtype=torch.float64)
    copy_patches(cut, params["patches/linear"], side, before)
    assert len(params) == len(stem) + 1
    tokens = jax.jit(transformed.apply)(params, images)
    assert tokens.shape == (2, (height // patch) * (width // patch), 16)
    assert_close(tokens, cut(x).flatten(2).transpose(1, 2))


@pytest.mark.parametrize("heads", [1, 2, 8])
def test_attention_and_its_weights_equal_torch(random_params, heads):
    batch, tokens, width = 3, 5, 8
    x = normal(batch * tokens, width)

    def forward(x):
        return SelfAttention(heads, name="attention")(x, tokens)

    transformed = hk.without_apply_rng(hk.transform(forward))
    params = random_params(transformed, x)
    reference = torch.nn.MultiheadAttention(width, heads, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        copy_attention(reference, params, "attention")
    inputs = to_torch(x).reshape(batch, tokens, width)
    expected, expected_weights = reference(
        inputs, inputs, inputs, need_weights=True, average_attn_weights=False
    )
    output, weights = jax.jit(transformed.apply)(params, x)
    assert_close(output, expected.reshape(-1, width))
    assert weights.shape == (batch, heads, tokens, tokens)
    assert_close(weights, expected_weights)


def test_qk_norm_normalizes_queries_and_keys_of_each_head(random_params):
    batch, tokens, width, heads = 3, 5, 8, 2
    x = normal(batch * tokens, width)

    def forward(x):
        return SelfAttention(heads, qk_norm=True, name="attention")(x, tokens)

    transformed = hk.without_apply_rng(hk.transform(forward))
    params = random_params(transformed, x)
    weight = {name: {k: to_torch(v) for k, v in x.items()} for name, x in params.items()}
    qkv = to_torch(x) @ weight["attention/qkv"]["w"] + weight["attention/qkv"]["b"]
    q, k, v = (
        part.reshape(batch, tokens, heads, width // heads).transpose(1, 2)
        for part in qkv.split(width, dim=1)
    )
    q, k = (
        torch.nn.functional.layer_norm(part, (width // heads,), norm["scale"], norm["offset"], EPS)
        for part, norm in [(q, weight["attention/q_norm"]), (k, weight["attention/k_norm"])]
    )
    mixed = torch.nn.functional.scaled_dot_product_attention(q, k, v)
    mixed = mixed.transpose(1, 2).reshape(-1, width)
    output, weights = jax.jit(transformed.apply)(params, x)
    assert_close(output, mixed @ weight["attention/out"]["w"] + weight["attention/out"]["b"])
    assert_close(weights, (q @ k.mT / (width // heads) ** 0.5).softmax(-1))


def test_block_equals_torch_in_outputs_and_all_gradients(random_params):
    batch, tokens, width, heads, mlp_dim = 3, 5, 8, 4, 12
    x, cotangent = normal(batch * tokens, width), normal(width, batch * tokens).T

    def forward(x):
        return Block(heads, mlp_dim, name="block")(x, tokens, is_training=True)

    transformed = hk.without_apply_rng(hk.transform(forward))
    params = random_params(transformed, x)

    @jax.jit
    def run(params, x):
        output, pullback, weights = jax.vjp(transformed.apply, params, x, has_aux=True)
        return output, weights, *pullback(cotangent)

    output, weights, gradient, x_gradient = run(params, x)

    layer = torch_layer(width, heads, mlp_dim)
    copy_block(layer, params, "block")
    inputs = to_torch(x).reshape(batch, tokens, width).requires_grad_()
    expected, expected_weights = attend(layer, inputs)
    expected.backward(to_torch(cotangent).reshape(batch, tokens, width))

    assert_close(output, expected.reshape(-1, width))
    assert_close(weights, expected_weights)
    assert_close(x_gradient, inputs.grad.reshape(-1, width))
    expected_gradients = {
        ("block/norm_1", "scale"): layer.norm1.weight,
        ("block/norm_1", "offset"): layer.norm1.bias,
        ("block/attention/qkv", "w"): layer.self_attn.in_proj_weight,
        ("block/attention/qkv", "b"): layer.self_attn.in_proj_bias,
        ("block/attention/out", "w"): layer.self_attn.out_proj.weight,
        ("block/attention/out", "b"): layer.self_attn.out_proj.bias,
        ("block/norm_2", "scale"): layer.norm2.weight,
        ("block/norm_2", "offset"): layer.norm2.bias,
        ("block/mlp/in", "w"): layer.linear1.weight,
        ("block/mlp/in", "b"): layer.linear1.bias,
        ("block/mlp/out", "w"): layer.linear2.weight,
        ("block/mlp/out", "b"): layer.linear2.bias,
    }
    assert {(m, n) for m, leaves in gradient.items() for n in leaves} == set(expected_gradients)
    for (module, name), parameter in expected_gradients.items():
        assert_close(gradient[module][name], parameter.grad.T if name == "w" else parameter.grad)


def test_gradient_of_an_attention_offset_is_that_of_the_attention(random_params):
    batch, tokens, width, heads = 3, 5, 8, 2
    x, cotangent = normal(batch * tokens, width), normal(width, batch * tokens).T
    zeros = np.zeros((batch, heads, tokens, tokens), np.float32)

    def forward(x, offset):
        return SelfAttention(heads, name="attention")(x, tokens, offset)

    transformed = hk.without_apply_rng(hk.transform(forward))
    params = random_params(transformed, x, zeros)
    gradient = jax.jit(
        jax.grad(lambda offset: (transformed.apply(params, x, offset)[0] * cotangent).sum())
    )(zeros)

    qkv, out = params["attention/qkv"], params["attention/out"]
    parts = (to_torch(x) @ to_torch(qkv["w"]) + to_torch(qkv["b"])).split(width, dim=1)
    q, k, v = (y.reshape(batch, tokens, heads, width // heads).transpose(1, 2) for y in parts)
    weights = (q @ k.mT / (width // heads) ** 0.5).softmax(-1).requires_grad_()
    mixed = (weights @ v).transpose(1, 2).reshape(-1, width)
    output = mixed @ to_torch(out["w"]) + to_torch(out["b"])
    output.backward(to_torch(cotangent))
    assert_close(gradient, weights.grad)


@pytest.mark.parametrize(
    ("pool", "position", "registers", "shape"),
    [
        ("cls", "learned", 0, (6, 4, 1)),
        ("cls", "sincos2d", 2, (4, 6, 3)),
        ("gap", "learned", 3, (4, 4, 3)),
        ("gap", "sincos2d", 0, (2, 8, 1)),
    ],
)
def test_whole_model_equals_torch(settings, random_params, pool, position, registers, shape):
    s = settings(pool=pool, position=position, registers=registers)
    height, width, channels = shape
    images = normal(2, *shape)
    model = make_model(s, num_classes=5)
    params = random_params(model, images, False)
    output = jax.jit(lambda p, x: model.apply(p, None, x, is_training=False))(params, images)

    convolution = torch.nn.Conv2d(
        channels, s.hidden_size, s.patch_size, stride=s.patch_size, dtype=torch.float64
    )
    copy_patches(convolution, params["vit/patches/linear"], s.patch_size, channels)
    layer = torch_layer(s.hidden_size, s.num_heads, s.mlp_dim)
    norm = torch.nn.LayerNorm(s.hidden_size, EPS, dtype=torch.float64)
    encoder = torch.nn.TransformerEncoder(layer, s.num_layers, norm, enable_nested_tensor=False)
    head = torch.nn.Linear(s.hidden_size, 5, dtype=torch.float64)
    for index, block in enumerate(encoder.layers):
        copy_block(block, params, f"vit/block_{index}")
    with torch.no_grad():
        copy_norm(norm, params["vit/norm"])
        copy_linear(head, params["vit/head"])

    patches = convolution(to_torch(images).permute(0, 3, 1, 2)).flatten(2).transpose(1, 2)
    grid = (height // s.patch_size, width // s.patch_size)
    own = {name: to_torch(x).expand(2, -1, -1) for name, x in params.get("vit", {}).items()}
    first = [own["class_token"]] if pool == "cls" else []
    if position == "sincos2d":
        patches = patches + to_torch(sincos_by_hand(*grid, s.hidden_size))
    x = torch.cat([*first, patches], dim=1)
    if position == "learned":
        x = x + own["position"]
    if registers:
        x = torch.cat([x[:, : len(first)], own["registers"], x[:, len(first) :]], dim=1)
    result = encoder(x)
    features = result[:, 0] if pool == "cls" else result[:, -grid[0] * grid[1] :].mean(dim=1)
    attention = []
    for block in encoder.layers:
        x, weights = attend(block, x)
        attention.append(weights)

    assert_close(output.features, features)
    assert_close(output.logits, head(features))
    assert_close(output.attention, torch.stack(attention))


def sincos_by_hand(rows, columns, width):
    table = []
    for row in range(rows):
        for column in range(columns):
            angles = [10000 ** (-i / (width / 4)) for i in range(width // 4)]
            table.append(
                [np.sin(column * a) for a in angles]
                + [np.cos(column * a) for a in angles]
                + [np.sin(row * a) for a in angles]
                + [np.cos(row * a) for a in angles]
            )
    return np.array(table)
