"""The model in JavaScript against the Haiku model, for each option of the architecture."""

import dataclasses
import functools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import haiku as hk
import jax
import numpy as np
import pytest
from browser import evaluate_as_text
from synthetic_results import make_dataset, random_params

from vit_hk.data.dataset import Dataset
from vit_hk.data.normalization import Normalization
from vit_hk.explain.methods import METHODS, MethodInputs, attribution_maps, normalize_maps
from vit_hk.explain.patch_attention import patch_attention
from vit_hk.explain.rollout import attention_rollout
from vit_hk.inference import make_attention_gradient, run_model
from vit_hk.model import reference
from vit_hk.model.vit import ViTOutput, make_model
from vit_hk.params import AttentionSettings, ModelSettings, Preparation
from vit_hk.report.page_model import PageModel, encoded_size, make_page_model
from vit_hk.report.weights_file import read_weights_file
from vit_hk.weights import save_weights
from vit_hk.weights_metadata import WeightsInfo

NUM_IMAGES = 200
NUM_CLASSES = 5
TOLERANCE = 2e-3  # of probabilities and attention: the page has the weights as float16
GRADIENT_METHODS = ("gradient_rollout", "relevance")
EXACT = 2e-4  # where Haiku has the rounded weights too
MAP_TOLERANCE = 5e-4  # likewise, of maps that are scaled, however small, to sum to 1

RUN = """([data, images, off]) => {
  const model = makeModel(data);
  const sets = {};
  for (const kind of ["heads", "layers", "patches"]) sets[kind] = new Set(off[kind]);
  return images.map((pixels) => {
    const { probabilities, attention, features } = model.forward(Uint8Array.from(pixels), sets);
    const rollout = explain.rollout(model, attention, data, sets);
    return [[...probabilities], [...attention], [...rollout], [...features]];
  });
}"""


RUN_MAPS = """([data, images, classes]) => {
  const model = makeModel(data);
  return images.map((pixels, n) => {
    const result = model.forward(Uint8Array.from(pixels));
    const gradient = attentionGradient(model, result, classes[n]);
    const maps = ["gradientRollout", "relevance"].map((name) =>
      [...explain[name](model, result.attention, gradient)]);
    return [[...gradient], maps];
  });
}"""


class Trained(NamedTuple):
    """A model with random parameters, as Haiku and as the page have it."""

    settings: ModelSettings
    params: hk.Params
    info: WeightsInfo
    page_model: PageModel
    images: np.ndarray  # uint8 [NUM_IMAGES, height, width, channels]


class Result(NamedTuple):
    """What the page computed for each image."""

    probabilities: np.ndarray  # [B, C]
    attention: np.ndarray  # [L, B, H, T, T]
    rollout: np.ndarray  # [B, N]
    features: np.ndarray  # [L, B, D]


@pytest.fixture
def train(tree, tmp_path) -> Callable[..., Trained]:
    """Return a function that makes a model with options and an image shape."""

    def make(options: dict[str, Any], image_shape: tuple[int, int, int]) -> Trained:
        settings = ModelSettings(**tree["model"] | options)
        names = tuple(f"class {n}" for n in range(NUM_CLASSES))
        dataset: Dataset = make_dataset(image_shape, names, "made for a test", NUM_IMAGES)
        normalization = Normalization.from_images(dataset.x_train)
        info = WeightsInfo(
            model=settings,
            data=dataset.name,
            source=dataset.source,
            class_names=list(names),
            image_shape=list(image_shape),
            preparation=None,
            mean=list(normalization.mean),
            std=list(normalization.std),
            seed=0,
            validation_fraction=0.25,
        )
        params = random_params(settings, image_shape, NUM_CLASSES)
        save_weights(tmp_path / "vit.safetensors", params, info)
        weights = read_weights_file(tmp_path / "vit.safetensors", settings, dataset)
        page_model = make_page_model(weights, AttentionSettings(**tree["attention"]))
        assert len(page_model.weights) == encoded_size(weights)
        return Trained(settings, params, info, page_model, dataset.x_test)

    return make


@pytest.mark.parametrize("padding", [0, 128])
def test_files_are_padded_as_training_images_were(train, tree, padding):
    trained = train({}, (8, 8, 1))
    preparation = Preparation(height=8, width=8, channels=1, resize="pad", background=padding)
    info = trained.info.model_copy(update={"preparation": preparation})
    numbers = [np.ones(3, np.float32)]
    weights = SimpleNamespace(
        info=info, read_tensors=lambda: numbers, shapes={"w": (3,)},
        read_border_range=lambda: [0.1, 0.2],
    )  # fmt: skip
    page_model = make_page_model(weights, AttentionSettings(**tree["attention"]))
    assert (page_model.resize, page_model.padding) == ("pad", padding)
    assert page_model.border_range == [0.1, 0.2]
    assert trained.page_model.border_range is None  # as of imported weights


@pytest.fixture(scope="module")
def script_page(chromium, project):
    page = chromium.new_page()
    problems = []
    page.on("console", lambda message: problems.append(message.text))
    for name in ("nn.js", "model.js", "gradient.js", "explain.js"):
        page.add_script_tag(path=project / "vit_hk" / "report" / name)
    yield page
    assert problems == []
    page.close()


@pytest.fixture
def run_in_page(script_page) -> Callable[..., Result]:
    """Return a function that runs the model of the page, with heads, layers or patches off."""

    def run(trained: Trained, num_images: int = NUM_IMAGES, **off: list[int]) -> Result:
        everything = {"heads": [], "layers": [], "patches": [], **off}
        images = trained.images[:num_images].reshape(num_images, -1).tolist()
        data = dataclasses.asdict(trained.page_model)
        rows = evaluate_as_text(script_page, RUN, [data, images, everything])
        probabilities, attention, rollout, features = map(np.array, zip(*rows, strict=True))
        layers, heads = trained.settings.num_layers, trained.settings.num_heads
        tokens = trained.info.num_tokens
        attention = attention.reshape(num_images, layers, heads, tokens, tokens)
        features = features.reshape(num_images, layers, -1).swapaxes(0, 1)
        return Result(probabilities, attention.swapaxes(0, 1), rollout, features)

    return run


def make_haiku(trained: Trained) -> Callable[[hk.Params, np.ndarray], ViTOutput]:
    model = make_model(trained.settings, NUM_CLASSES)
    return jax.jit(functools.partial(run_model, model, normalization=trained.info.normalization))


OPTIONS = [
    ({"pool": "cls", "registers": 0, "position": "learned", "num_layers": 3}, (12, 8, 1)),
    ({"pool": "cls", "registers": 2, "gelu": "tanh", "norm_eps": 1e-2, "mlp_dim": 9}, (8, 12, 2)),
    (
        {"pool": "gap", "registers": 1, "qk_norm": True, "position": "learned", "hidden_size": 32},
        (8, 8, 3),
    ),
    ({"stem": "conv", "pool": "gap", "registers": 0, "num_heads": 1}, (8, 12, 3)),
    (
        {"stem": "conv", "patch_size": 6, "qk_norm": True, "pool": "cls", "hidden_size": 32},
        (6, 12, 1),
    ),
    ({"stem": "conv", "patch_size": 3, "gelu": "tanh", "hidden_size": 12}, (9, 6, 4)),
    ({"stem": "cct", "pool": "gap", "num_layers": 1}, (8, 12, 3)),
    ({"stem": "cct", "patch_size": 6, "num_layers": 1}, (6, 12, 1)),
    ({"stem": "hybrid", "num_layers": 1, "norm_eps": 1e-2}, (8, 12, 3)),
]


def test_model_js_knows_every_setting_of_the_model():
    # Dropout and drop path act in training only.
    assert set(ModelSettings.model_fields) - {"dropout", "drop_path"} == {
        "patch_size", "stem", "hidden_size", "num_layers", "num_heads", "mlp_dim", "pool",
        "position", "qk_norm", "registers", "gelu", "norm_eps",
    }, "add the new setting to vit_hk/report/model.js and to OPTIONS"  # fmt: skip


@pytest.mark.parametrize(("options", "image_shape"), OPTIONS)
def test_the_page_computes_what_haiku_computes(train, run_in_page, options, image_shape):
    trained = train(options, image_shape)
    found = run_in_page(trained)
    run = make_haiku(trained)
    rounded = jax.tree.map(lambda x: x.astype(np.float16).astype(np.float32), trained.params)
    for params, tolerance in ((trained.params, TOLERANCE), (rounded, EXACT)):
        expected = run(params, trained.images)
        probabilities = jax.nn.softmax(expected.logits)
        assert np.ptp(probabilities, axis=0).max() > 0.1  # the images differ
        np.testing.assert_allclose(found.probabilities, probabilities, atol=tolerance)
        np.testing.assert_allclose(found.attention, expected.attention, atol=tolerance)
    np.testing.assert_allclose(found.features[-1], expected.features, atol=1e-3)
    # The rollout of the tests takes the maximum over heads and discards a tenth of the weights.
    settings = trained.page_model
    rollout = attention_rollout(
        found.attention, trained.settings.pool, settings.head_fusion, settings.discard_ratio
    )
    maps = patch_attention(rollout, trained.info.num_patches, trained.settings.pool)
    maps /= maps.sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(found.rollout, maps, atol=1e-5)


@pytest.mark.parametrize(("options", "image_shape"), OPTIONS[1:3])
def test_features_of_a_layer_are_those_of_a_model_that_ends_there(
    train, run_in_page, options, image_shape
):
    trained = train(options, image_shape)
    found = run_in_page(trained, num_images=20)
    rounded = jax.tree.map(lambda x: x.astype(np.float16).astype(np.float32), trained.params)
    for layers in range(1, trained.settings.num_layers):  # those of the last one are compared above
        settings = trained.settings.model_copy(update={"num_layers": layers})
        shorter = make_haiku(trained._replace(settings=settings))
        expected = shorter(rounded, trained.images[:20]).features
        np.testing.assert_allclose(found.features[layers - 1], expected, atol=1e-3)


@pytest.mark.parametrize(("options", "image_shape"), OPTIONS)
def test_maps_of_a_class_are_those_of_the_stages(train, script_page, options, image_shape):
    trained = train(options, image_shape)
    images, classes = trained.images[:20], np.arange(20) % NUM_CLASSES
    arguments = dataclasses.asdict(trained.page_model), images.reshape(20, -1).tolist()
    rows = evaluate_as_text(script_page, RUN_MAPS, [*arguments, classes.tolist()])
    gradients, maps = map(np.array, zip(*rows, strict=True))
    model = make_model(trained.settings, NUM_CLASSES)
    differentiate = make_attention_gradient(model, trained.info.normalization)
    rounded = jax.tree.map(lambda x: x.astype(np.float16).astype(np.float32), trained.params)
    output, gradient = differentiate(rounded, images, classes)
    pool = trained.settings.pool
    inputs = MethodInputs(np.asarray(output.attention), np.asarray(gradient), pool, "mean", 0.0)
    expected = normalize_maps(attribution_maps(inputs, trained.info.num_patches))
    for found, method in zip(maps.swapaxes(0, 1), GRADIENT_METHODS, strict=True):
        np.testing.assert_allclose(found, expected[list(METHODS).index(method)], atol=MAP_TOLERANCE)
    if pool == "cls":  # as docs/attention.md says; small sums of other maps enlarge the rounding
        output, of_stages = differentiate(trained.params, images, classes)
        inputs = MethodInputs(
            np.asarray(output.attention), np.asarray(of_stages), pool, "mean", 0.0
        )
        exact = normalize_maps(attribution_maps(inputs, trained.info.num_patches))
        for found, method in zip(maps.swapaxes(0, 1), GRADIENT_METHODS, strict=True):
            np.testing.assert_allclose(found, exact[list(METHODS).index(method)], atol=TOLERANCE)
    gradient = np.asarray(gradient).swapaxes(0, 1)
    assert np.abs(gradient).max() > 0.1
    np.testing.assert_allclose(gradients, gradient.reshape(20, -1), atol=EXACT)


def test_a_head_that_is_off_adds_nothing_to_the_tokens(train, run_in_page):
    trained = train({"num_layers": 2, "num_heads": 4, "pool": "cls"}, (8, 12, 1))
    found = run_in_page(trained, num_images=20, heads=[1 * 4 + 2])
    # Its output is multiplied by two rows of the next layer: without them it adds nothing.
    changed = jax.tree.map(np.array, trained.params)
    changed["vit/block_1/attention/out"]["w"][4:6] = 0.0
    expected = jax.nn.softmax(make_haiku(trained)(changed, trained.images[:20]).logits)
    np.testing.assert_allclose(found.probabilities, expected, atol=TOLERANCE)
    unchanged = run_in_page(trained, num_images=20).probabilities
    assert np.abs(unchanged - found.probabilities).max() > 0.05


def test_the_attention_of_a_layer_that_is_off_is_skipped(train, run_in_page):
    trained = train({"num_layers": 2, "pool": "gap"}, (8, 12, 1))
    found = run_in_page(trained, num_images=20, layers=[0])
    changed = jax.tree.map(np.array, trained.params)
    changed["vit/block_0/attention/out"]["w"][:] = 0.0
    changed["vit/block_0/attention/out"]["b"][:] = 0.0
    expected = jax.nn.softmax(make_haiku(trained)(changed, trained.images[:20]).logits)
    np.testing.assert_allclose(found.probabilities, expected, atol=TOLERANCE)


@pytest.mark.parametrize("pool", ["cls", "gap"])
def test_patches_that_are_off_might_as_well_not_exist(train, run_in_page, pool):
    trained = train({"pool": pool, "registers": 1}, (8, 12, 1))
    off = [0, 4]
    found = run_in_page(trained, num_images=20, patches=off)
    first_patch = 1 + (pool == "cls")
    tokens = [first_patch + patch for patch in off]
    assert found.attention[..., tokens].max() == 0
    np.testing.assert_allclose(found.attention.sum(-1), 1, atol=1e-5)
    expected = run_without_tokens(trained, trained.images[:20], tokens)
    np.testing.assert_allclose(found.probabilities, expected, atol=TOLERANCE)


def run_without_tokens(trained: Trained, images: np.ndarray, tokens: list[int]) -> np.ndarray:
    """Return probabilities of the model when tokens are taken away after the embedding."""
    settings, params = trained.settings, trained.params
    x = reference.embed(params, trained.info.normalization(images), settings)
    x = np.delete(np.asarray(x), tokens, axis=1)
    for layer in range(settings.num_layers):
        block = f"vit/block_{layer}"
        normalized = reference.layer_norm(params[f"{block}/norm_1"], x, settings.norm_eps)
        x += reference.self_attention(params, f"{block}/attention", normalized, settings)[0]
        normalized = reference.layer_norm(params[f"{block}/norm_2"], x, settings.norm_eps)
        x += reference.mlp(params, f"{block}/mlp", normalized, settings)
    x = reference.layer_norm(params["vit/norm"], x, settings.norm_eps)
    features = x[:, 0] if settings.pool == "cls" else x[:, settings.registers :].mean(axis=1)
    return np.asarray(jax.nn.softmax(reference.linear(params["vit/head"], features)))
