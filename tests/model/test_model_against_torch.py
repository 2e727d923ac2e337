"""The model and its reference agree with PyTorch's own modules that have the same weights.

PyTorch computes in float64, so that the differences are the rounding of the model alone.
"""

import itertools

import haiku as hk
import jax
import numpy as np
import pytest
import torch

from vit_hk.model import reference
from vit_hk.model.attention import SelfAttention
from vit_hk.model.block import Block
from vit_hk.model.gelu import gelu
from vit_hk.model.layer_norm import layer_norm
from vit_hk.model.patches import PatchEmbedding
from vit_hk.model.vit import ViTOutput, make_model

EPS = 1e-6


def to_torch(x):
    return torch.tensor(np.asarray(x), dtype=torch.float64)


def random_normal(*shape):
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
def copy_convolution(target, weights, patch, channels):
    kernel = to_torch(weights["w"]).reshape(patch, patch, channels, -1)
    target.weight.copy_(kernel.permute(3, 2, 0, 1))
    target.bias.copy_(to_torch(weights["b"]))


def torch_layer(width, heads, mlp_dim):
    # In training mode, which with dropout 0 computes the same, PyTorch uses no fused kernel.
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


def run_torch_layer(layer, x):
    """Return the new tokens and the attention weights [B, H, T, T] of a PyTorch encoder layer."""
    weights = layer.self_attn(*[layer.norm1(x)] * 3, average_attn_weights=False)[1]
    return layer(x), weights


@pytest.mark.parametrize("implementation", [gelu, reference.gelu])
@pytest.mark.parametrize(("kind", "approximate"), [("erf", "none"), ("tanh", "tanh")])
def test_gelu_equals_torch(implementation, kind, approximate):
    x = np.linspace(-5, 5, 101, dtype=np.float32)
    # The approximation with tanh has an error of up to 5e-4.
    expected = torch.nn.functional.gelu(to_torch(x), approximate=approximate)
    np.testing.assert_allclose(implementation(x, kind), expected, atol=1e-6)


def test_layer_norm_equals_torch_with_eps_1e_6(random_params):
    # With standard deviations of 1e-3, an eps of 1e-5 would make the result several times smaller.
    x = random_normal(5, 8) * 1e-3
    transformed = hk.without_apply_rng(hk.transform(lambda x: layer_norm(x, EPS, "norm")))
    params = random_params(transformed, x)
    scale, offset = to_torch(params["norm"]["scale"]), to_torch(params["norm"]["offset"])
    expected = torch.nn.functional.layer_norm(to_torch(x), (8,), scale, offset, EPS)
    assert_close(transformed.apply(params, x), expected)
    assert_close(reference.layer_norm(params["norm"], x, EPS), expected)


def patch_embedding(patch, width, stem="linear"):
    def forward(images):
        return PatchEmbedding(patch, width, stem, "erf", EPS, name="patches")(images)

    return hk.without_apply_rng(hk.transform(forward))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("patch", "height", "width"), [(2, 6, 4), (3, 3, 9), (1, 2, 3)])
def test_patch_embedding_is_a_strided_convolution(random_params, patch, height, width, channels):
    images = random_normal(2, height, width, channels)
    transformed = patch_embedding(patch, 5)
    params = random_params(transformed, images)
    convolution = torch.nn.Conv2d(channels, 5, patch, stride=patch, dtype=torch.float64)
    copy_convolution(convolution, params["patches/linear"], patch, channels)
    grid = convolution(to_torch(images).permute(0, 3, 1, 2))
    assert_close(transformed.apply(params, images), grid.flatten(2).transpose(1, 2))


@pytest.mark.parametrize("stem", ["conv", "cct", "hybrid"])
@pytest.mark.parametrize(
    ("patch", "height", "width", "channels", "layers", "remaining_patch"),
    # For D = 16: by what each convolution, or the max pooling after it, divides height and width,
    # and its channels; and the patch size that remains.
    [
        (1, 3, 5, 1, [(1, 16)], 1),
        (2, 6, 4, 3, [(2, 16)], 1),
        (3, 3, 9, 2, [(1, 8)], 3),
        (8, 8, 16, 1, [(2, 8), (2, 8), (2, 16)], 1),
        (12, 24, 12, 3, [(2, 8), (2, 8)], 3),
        (7, 14, 7, 1, [(1, 8)], 7),
    ],
)
def test_convolutional_stem_equals_torch(
    random_params, stem, patch, height, width, channels, layers, remaining_patch
):
    images = random_normal(2, height, width, channels)
    transformed = patch_embedding(patch, 16, stem)
    params = random_params(transformed, images, std=0.2)
    x, in_channels = to_torch(images).permute(0, 3, 1, 2), channels
    numbers = itertools.count()

    def convolve(x, out_channels, stride, pool_stride):
        number = next(numbers)
        convolution = torch.nn.Conv2d(
            x.shape[1], out_channels, 3, stride, padding=1, dtype=torch.float64
        )
        copy_convolution(convolution, params[f"patches/conv_{number}"], 3, x.shape[1])
        x = convolution(x)
        if pool_stride > 1:
            x = torch.nn.functional.max_pool2d(x, 3, pool_stride, padding=1)
        if stem == "hybrid":
            norm = torch.nn.LayerNorm(out_channels, EPS, dtype=torch.float64)
            with torch.no_grad():
                copy_norm(norm, params[f"patches/norm_{number}"])
            x = norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return torch.nn.functional.gelu(x)

    for downsampling, out_channels in layers:
        strides = (downsampling, 1) if stem == "conv" else (1, downsampling)
        x, in_channels = convolve(x, out_channels, *strides), out_channels
        if stem == "hybrid":
            x = x + convolve(x, out_channels, 1, 1)
    projection = torch.nn.Conv2d(
        in_channels, 16, remaining_patch, stride=remaining_patch, dtype=torch.float64
    )
    copy_convolution(projection, params["patches/linear"], remaining_patch, in_channels)
    assert len(params) == 1 + len(layers) * (4 if stem == "hybrid" else 1)
    tokens = jax.jit(transformed.apply)(params, images)
    assert tokens.shape == (2, (height // patch) * (width // patch), 16)
    assert_close(tokens, projection(x).flatten(2).transpose(1, 2))


@pytest.mark.parametrize("heads", [1, 2, 8])
def test_attention_and_its_weights_equal_torch(random_params, heads):
    batch, tokens, width = 3, 5, 8
    x = random_normal(batch * tokens, width)

    def forward(x):
        return SelfAttention(heads, EPS, name="attention")(x, tokens)

    transformed = hk.without_apply_rng(hk.transform(forward))
    params = random_params(transformed, x)
    attention = torch.nn.MultiheadAttention(width, heads, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        copy_attention(attention, params, "attention")
    inputs = to_torch(x).reshape(batch, tokens, width)
    expected, expected_weights = attention(
        inputs, inputs, inputs, need_weights=True, average_attn_weights=False
    )
    output, weights = jax.jit(transformed.apply)(params, x)
    assert_close(output, expected.reshape(-1, width))
    assert weights.shape == (batch, heads, tokens, tokens)
    assert_close(weights, expected_weights)


def test_qk_norm_normalizes_queries_and_keys_of_each_head(random_params, settings):
    batch, tokens, width, heads = 3, 5, 8, 2
    x = random_normal(batch * tokens, width)

    def forward(x):
        return SelfAttention(heads, EPS, qk_norm=True, name="attention")(x, tokens)

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
    expected = mixed @ weight["attention/out"]["w"] + weight["attention/out"]["b"]
    expected_weights = (q @ k.mT / (width // heads) ** 0.5).softmax(-1)
    output, weights = jax.jit(transformed.apply)(params, x)
    assert_close(output, expected)
    assert_close(weights, expected_weights)
    images = x.reshape(batch, tokens, width)
    s = settings(num_heads=heads, norm_eps=EPS)
    output, weights = reference.self_attention(params, "attention", images, s)
    assert_close(output.reshape(-1, width), expected)
    assert_close(weights, expected_weights)


def test_block_equals_torch_in_outputs_and_all_gradients(random_params):
    batch, tokens, width, heads, mlp_dim = 3, 5, 8, 4, 12
    x, cotangent = random_normal(batch * tokens, width), random_normal(width, batch * tokens).T

    def forward(x):
        return Block(heads, mlp_dim, "erf", EPS, name="block")(x, tokens)

    transformed = hk.without_apply_rng(hk.transform(forward))
    params = random_params(transformed, x)

    @jax.jit
    def run(params, x):
        output, backward, weights = jax.vjp(transformed.apply, params, x, has_aux=True)
        return output, weights, *backward(cotangent)

    output, weights, d_params, d_x = run(params, x)

    layer = torch_layer(width, heads, mlp_dim)
    copy_block(layer, params, "block")
    inputs = to_torch(x).reshape(batch, tokens, width).requires_grad_()
    expected, expected_weights = run_torch_layer(layer, inputs)
    expected.backward(to_torch(cotangent).reshape(batch, tokens, width))

    assert_close(output, expected.reshape(-1, width))
    assert_close(weights, expected_weights)
    assert_close(d_x, inputs.grad.reshape(-1, width))
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
    assert {(m, n) for m, leaves in d_params.items() for n in leaves} == set(expected_gradients)
    for (module, name), parameter in expected_gradients.items():
        assert_close(d_params[module][name], parameter.grad.T if name == "w" else parameter.grad)


def test_gradient_of_an_attention_offset_is_the_gradient_of_the_attention(random_params):
    batch, tokens, width, heads = 3, 5, 8, 2
    x, cotangent = random_normal(batch * tokens, width), random_normal(width, batch * tokens).T
    zeros = np.zeros((batch, heads, tokens, tokens), np.float32)

    def forward(x, offset):
        return SelfAttention(heads, EPS, name="attention")(x, tokens, offset)

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
    ("changes", "shape"),
    [
        ({"pool": "cls", "position": "learned", "registers": 0}, (6, 4, 1)),
        ({"pool": "cls", "position": "sincos2d", "registers": 2}, (4, 6, 3)),
        ({"pool": "gap", "position": "learned", "registers": 3}, (4, 4, 3)),
        ({"pool": "gap", "position": "sincos2d", "registers": 0}, (2, 8, 1)),
        (None, (28, 28, 1)),
    ],
    ids=lambda changes: "default architecture" if changes is None else None,
)
def test_model_and_reference_equal_torch(
    settings, default_architecture, random_params, changes, shape
):
    s = default_architecture if changes is None else settings(**changes)
    images = random_normal(2, *shape)
    model = make_model(s, num_classes=5)
    params = random_params(model, images, std=0.15 if changes is None else 0.4)
    with torch.no_grad():
        expected = torch_vit(s, params, images)
    haiku = jax.jit(lambda p, x: model.apply(p, x))(params, images)
    plain = jax.jit(lambda p, x: reference.vit(p, x, s))(params, images)
    for output in (haiku, plain):
        assert_close(output.logits, expected.logits)
        assert_close(output.features, expected.features)
        assert_close(output.attention, expected.attention)


def torch_vit(s, params, images):
    """Return the output of a ViT that is built of PyTorch's modules."""
    batch, height, width, channels = images.shape
    rows, columns = height // s.patch_size, width // s.patch_size
    projection = torch.nn.Conv2d(
        channels, s.hidden_size, s.patch_size, stride=s.patch_size, dtype=torch.float64
    )
    copy_convolution(projection, params["vit/patches/linear"], s.patch_size, channels)
    layer = torch_layer(s.hidden_size, s.num_heads, s.mlp_dim)
    norm = torch.nn.LayerNorm(s.hidden_size, EPS, dtype=torch.float64)
    encoder = torch.nn.TransformerEncoder(layer, s.num_layers, norm, enable_nested_tensor=False)
    head = torch.nn.Linear(s.hidden_size, 5, dtype=torch.float64)
    for index, block in enumerate(encoder.layers):
        copy_block(block, params, f"vit/block_{index}")
    copy_norm(norm, params["vit/norm"])
    copy_linear(head, params["vit/head"])

    patches = projection(to_torch(images).permute(0, 3, 1, 2)).flatten(2).transpose(1, 2)
    if s.position == "sincos2d":
        patches = patches + to_torch(sincos2d_by_loops(rows, columns, s.hidden_size))
    learned = {name: to_torch(x).expand(batch, -1, -1) for name, x in params.get("vit", {}).items()}
    class_token = [learned["class_token"]] if s.pool == "cls" else []
    x = torch.cat([*class_token, patches], dim=1)
    if s.position == "learned":
        x = x + learned["position"]
    if s.registers:
        first_patch = len(class_token)
        x = torch.cat([x[:, :first_patch], learned["registers"], x[:, first_patch:]], dim=1)
    tokens = encoder(x)
    features = tokens[:, 0] if s.pool == "cls" else tokens[:, -rows * columns :].mean(dim=1)
    attention = []
    for block in encoder.layers:
        x, weights = run_torch_layer(block, x)
        attention.append(weights)
    return ViTOutput(head(features), features, torch.stack(attention))


def sincos2d_by_loops(rows, columns, width):
    table = []
    for row in range(rows):
        for column in range(columns):
            frequencies = [10000 ** (-i / (width / 4)) for i in range(width // 4)]
            table.append(
                [np.sin(column * f) for f in frequencies]
                + [np.cos(column * f) for f in frequencies]
                + [np.sin(row * f) for f in frequencies]
                + [np.cos(row * f) for f in frequencies]
            )
    return np.array(table)
