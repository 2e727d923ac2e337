import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from sheet_panels import ATTENTION, colors_of_patches, colors_of_weights, panels

from stages import attention_figures
from stages.attention_figures import ExplainedMistakes
from vit_hk.explain.attention_arrays import AttentionArrays
from vit_hk.explain.distance import attention_distance
from vit_hk.explain.entropy import attention_entropy
from vit_hk.explain.explainer import Explainer
from vit_hk.explain.head_statistics import HeadStatistics
from vit_hk.figures.outline import image_outline
from vit_hk.model import reference
from vit_hk.model.vit import make_model
from vit_hk.params import load_config
from vit_hk.weights import load_weights
from vit_hk.weights_metadata import WeightsInfo

PNG_SIGNATURE = b"\x89PNG"


@pytest.fixture(scope="module")
def arrays(finished) -> dict[str, np.ndarray]:
    with np.load(finished[0] / "results" / "attention" / "attention.npz") as file:
        return dict(file)


def test_attention_succeeds(finished):
    ended = finished[1]["attention"]
    assert ended.code == 0, ended.err
    assert ended.err == ""
    assert ended.out == "results/attention: attention of 3 test images\n"


@pytest.fixture(scope="module")
def attention(finished, tiny_dataset) -> np.ndarray:
    """Return the attention of all test images by the plain model, [L, B, H, T, T]."""
    model = load_config(finished[0] / "params.yaml").model
    path = finished[0] / "models" / "vit.safetensors"
    weights, info, _ = load_weights(path, model, tiny_dataset)
    images = info.normalization(tiny_dataset.x_test)
    return np.asarray(reference.vit(weights, images, model).attention)


def test_mean_attention_is_that_of_all_test_images(finished, attention):
    of_images = attention[..., 2:, 2:].mean(axis=-2)  # of the pooled patches, after 2 registers
    with np.load(finished[0] / "results" / "attention" / "mean_attention.npz") as file:
        assert file["count"] == 18
        np.testing.assert_allclose(file["mean"], of_images.mean(axis=1), rtol=1e-4)
        np.testing.assert_allclose(file["mean_square"], (of_images**2).mean(axis=1), rtol=1e-4)


def test_rows_of_the_attention_sum_to_1(arrays):
    # Two layers, three images, two heads; two registers and 2 x 3 patches.
    assert arrays["attention"].shape == (2, 3, 2, 8, 8)
    assert (arrays["attention"] >= 0).all()
    np.testing.assert_allclose(arrays["attention"].sum(axis=-1), 1, atol=1e-5)


def test_images_and_labels_are_those_of_the_test_set(arrays, tiny_dataset):
    indices = arrays["indices"]
    assert len(set(indices.tolist())) == 3
    np.testing.assert_array_equal(arrays["images"], tiny_dataset.x_test[indices])
    np.testing.assert_array_equal(arrays["labels"], tiny_dataset.y_test[indices])


def test_predictions_are_those_of_the_evaluation(finished, arrays, tiny_dataset):
    table = pd.read_csv(finished[0] / "results" / "predictions.csv")
    predicted = [tiny_dataset.class_names[n] for n in arrays["probabilities"].argmax(axis=-1)]
    rows = table.iloc[arrays["indices"]]
    assert predicted == rows["predicted"].tolist()
    np.testing.assert_allclose(arrays["probabilities"].max(axis=-1), rows["probability"], atol=1e-5)
    np.testing.assert_allclose(arrays["probabilities"].sum(axis=-1), 1, atol=1e-5)


def test_mistakes_come_first(arrays):
    right = arrays["probabilities"].argmax(axis=-1) == arrays["labels"]
    assert right.tolist() == [False, True, True]


def test_each_image_has_a_sheet(finished):
    folder = finished[0] / "results" / "attention"
    sheets = sorted(folder.glob("images/*"))
    assert [path.name for path in sheets] == ["01.png", "02.png", "03.png"]
    figures = [*sheets, *folder.glob("*.png")]
    assert folder / "overview.png" in figures
    assert all(path.read_bytes().startswith(PNG_SIGNATURE) for path in figures)


def test_maps_of_all_methods_for_the_predicted_and_the_true_class(arrays):
    methods = arrays["methods"].tolist()
    assert methods == ["last_layer", "rollout", "gradient_rollout", "relevance"]
    for name in ("maps", "maps_true"):
        assert arrays[name].shape == (4, 3, 6)
        assert arrays[name].dtype == np.float32
        assert arrays[name].min() >= 0
    # The mean over heads, and over the patch tokens that are pooled, which follow 2 registers.
    last = arrays["attention"][-1, :, :, 2:, 2:].mean(axis=(1, 2))
    np.testing.assert_allclose(arrays["maps"][0], last, rtol=1e-5)
    right = arrays["probabilities"].argmax(axis=-1) == arrays["labels"]
    same = (arrays["maps"] == arrays["maps_true"]).all(axis=-1)  # [methods, B]
    # Both classes are equal where the prediction is right; two methods do not depend on a class.
    assert same.tolist() == [[True] * 3, [True] * 3, right.tolist(), right.tolist()]


def test_maps_are_those_of_the_predicted_and_of_the_true_class(finished, arrays, tiny_dataset):
    config = load_config(finished[0] / "params.yaml")
    path = finished[0] / "models" / "vit.safetensors"
    weights, info, _ = load_weights(path, config.model, tiny_dataset)
    explainer = Explainer(make_model(info.model, 3), weights, info, config.attention)
    predicted = arrays["probabilities"].argmax(axis=-1)
    for name, classes in (("maps", predicted), ("maps_true", arrays["labels"])):
        expected = explainer.maps(arrays["images"], classes)
        np.testing.assert_allclose(arrays[name], expected, rtol=1e-4, atol=1e-7)


def test_table_of_heads_is_over_all_test_images(finished, attention):
    heads = pd.read_csv(finished[0] / "results" / "attention" / "heads.csv")
    assert heads[["layer", "head"]].to_numpy().tolist() == [[1, 1], [1, 2], [2, 1], [2, 2]]
    # Patches of 4 pixels in 2 rows of 3.
    distances = attention_distance(attention, (2, 3), 4).mean(axis=1)
    np.testing.assert_allclose(heads["distance_pixels"], distances.ravel(), rtol=1e-3)
    entropies = attention_entropy(attention).mean(axis=1)
    np.testing.assert_allclose(heads["entropy_nats"], entropies.ravel(), rtol=1e-3)


@pytest.fixture
def info(finished, tiny_dataset) -> WeightsInfo:
    config = load_config(finished[0] / "params.yaml")
    return load_weights(finished[0] / "models" / "vit.safetensors", config.model, tiny_dataset).info


@pytest.fixture
def drawn(monkeypatch) -> dict[str, Figure]:
    """Collect the figures by file name instead of writing files."""
    figures: dict[str, Figure] = {}
    monkeypatch.setattr(
        attention_figures, "save_figure", lambda figure, path: figures.update({path.name: figure})
    )
    return figures


@pytest.mark.parametrize("stem", ["conv", "cct", "hybrid"])
def test_first_kernels_of_a_convolutional_stem_are_drawn(info, drawn, stem):
    kernels = np.random.default_rng(0).normal(size=(3, 3, 2, 8))
    weights = {"vit/patches/conv_0": {"w": kernels.reshape(18, 8)}}
    conv = info.model_copy(update={"model": info.model.model_copy(update={"stem": stem})})
    attention_figures.draw_weights(weights, conv)
    shown = drawn["filters.png"].axes[1].images[0].get_array()
    np.testing.assert_array_equal(shown, np.hstack([kernels[:, :, 0, 1], kernels[:, :, 1, 1]]))


def heatmaps(figure: Figure) -> list[np.ndarray]:
    """Return the drawn weights of patches, [rows, columns] each, without pixels of images."""
    drawn = [image.get_array() for axes in figure.axes for image in axes.images]
    return [array for array in drawn if array.ndim == 2]


def shares(maps: np.ndarray) -> np.ndarray:
    """Return maps [..., 6] that each sum to 1, on their grid of patches: [..., 2, 3]."""
    return (maps / maps.sum(axis=-1, keepdims=True)).reshape(*maps.shape[:-1], 2, 3)


def test_explained_images_are_drawn(info, drawn, tiny_dataset):
    random = np.random.default_rng(0)
    indices = np.array([0, 16])  # both of the class left
    arrays = AttentionArrays(
        attention=random.dirichlet(np.ones(8), (2, 2, 2, 8)),
        indices=indices,
        images=tiny_dataset.x_test[indices],
        labels=tiny_dataset.y_test[indices],
        probabilities=np.array([[0.9, 0.05, 0.05], [0.0, 0.25, 0.75]]),
        methods=np.array(["last_layer", "rollout", "gradient_rollout", "relevance"]),
        maps=random.uniform(size=(4, 2, 6)),
        maps_true=random.uniform(size=(4, 2, 6)),
    )
    attention_figures.draw_images(arrays, list(tiny_dataset.class_names), info)
    assert set(drawn) == {
        "01.png", "02.png", "overview.png", "class_maps.png", "any_patch.png",
    }  # fmt: skip
    right, wrong = (drawn[f"0{n}.png"].get_suptitle() for n in (1, 2))
    assert right == "Test image 0: true left, predicted left (90 %)"
    assert wrong == "Test image 16: true left, predicted right (75 %): WRONG"

    pooled = arrays.attention[..., 2:, 2:].mean(axis=-2)  # of the patches, after 2 registers
    for number in range(2):
        maps = pooled[:, number].reshape(2, 2, 2, 3)
        tiles = panels(drawn[f"0{number + 1}.png"])[ATTENTION]
        np.testing.assert_array_equal(
            colors_of_patches(tiles, *maps.shape), colors_of_weights(maps)
        )
    last_layer = pooled[-1].mean(axis=1).reshape(2, 2, 3)
    np.testing.assert_allclose(heatmaps(drawn["overview.png"]), last_layer)
    # Rollout and relevance of both images, and of the wrong one relevance for the true class.
    right, wrong = arrays.maps[[1, 3], 0], arrays.maps[[1, 3], 1]
    expected = shares(np.stack([*right, *wrong, arrays.maps_true[3, 1]]))
    np.testing.assert_allclose(heatmaps(drawn["class_maps.png"]), expected)
    between_patches = arrays.attention[-1, 0, :, 2:, 2:].mean(axis=0).reshape(6, 2, 3)
    np.testing.assert_allclose(heatmaps(drawn["any_patch.png"]), between_patches)
    assert "test image 0 to all patches\nin layer 2 of 2" in drawn["any_patch.png"].get_suptitle()


def test_mistakes_are_drawn_between_examples_of_both_classes(info, drawn, tiny_dataset):
    # An image of the class left is taken for right, of which no image is classified correctly.
    indices, classes = np.array([[0, 16, 16, -1]]), np.array([[0, 0, 2, 2]])
    relevance = np.random.default_rng(0).uniform(size=(1, 4, 6))
    mistakes = ExplainedMistakes(indices, classes, relevance)
    attention_figures.draw_mistakes(mistakes, tiny_dataset, list(tiny_dataset.class_names), info)
    figure = drawn["right_wrong.png"]
    np.testing.assert_allclose(heatmaps(figure), shares(relevance[0, :3]))
    tiles = figure.axes[:4]
    assert [axes.get_title() for axes in tiles] == [
        "true left, predicted left:\nrelevance for left",
        "true left, predicted right:\nrelevance for left",
        "same image:\nrelevance for right",
        "",
    ]
    for axes, index in zip(tiles, (0, 16, 16), strict=False):
        (outline,) = axes.collections
        lines = image_outline(tiny_dataset.x_test[index])
        for found, line in zip(outline.get_segments(), lines, strict=True):
            np.testing.assert_array_equal(found, line)
    assert " ".join(tiles[3].texts[0].get_text().split()).startswith("no image of right is")


def test_statistics_of_heads_are_drawn_with_those_of_uniform_attention(info, drawn):
    random = np.random.default_rng(0)
    distance, entropy = random.uniform(1, 5, size=(2, 2, 2))  # of 2 layers and 2 heads each
    token_shares = random.dirichlet(np.ones(3), (2, 2, 3))
    statistics = HeadStatistics(distance, entropy, token_shares)
    attention_figures.draw_statistics(statistics, info, 18)
    assert all("18 test images" in figure.get_suptitle() for figure in drawn.values())
    # Of two patches, half lie in one row, a third in one column, and four ninths side by side.
    mean = (32 / 9 + (3 * 4 + 4 * np.hypot(4, 4) + 2 * np.hypot(4, 8)) / 9) / 2
    for name, values, uniform in [("distance", distance, mean), ("entropy", entropy, np.log(8))]:
        figure = drawn[f"{name}.png"]
        assert f"Attention {name}" in figure.get_suptitle()
        dots, _, reference_line = figure.axes[0].lines
        np.testing.assert_array_equal(dots.get_ydata(), values.ravel())
        assert reference_line.get_ydata()[0] == pytest.approx(uniform)
    # The model has 2 registers and 6 patches, and no class token.
    for query, axes in zip((1, 2), drawn["token_shares.png"].axes, strict=True):
        heights = [[bar.get_height() for bar in bars] for bars in axes.containers]
        np.testing.assert_allclose(heights, 100 * token_shares.mean(axis=1)[:, query, 1:].T)
        assert axes.lines[0].get_ydata()[0] == 25  # of 8 tokens, 2 are registers


def test_chosen_images_keep_their_order_even_without_a_mistake(
    here, copy, edit, arrays, tiny_dataset
):
    right = arrays["probabilities"].argmax(axis=-1) == arrays["labels"]
    chosen = arrays["indices"][right][::-1].tolist()
    edit(attention__images=chosen)
    ended = here("attention", copy)
    assert ended.code == 0, ended.err
    with np.load(copy / "results" / "attention" / "attention.npz") as file:
        assert file["indices"].tolist() == chosen
        np.testing.assert_array_equal(file["images"], tiny_dataset.x_test[chosen])


def test_missing_test_image_is_refused_before_jax_starts(here, refused, copy, edit, monkeypatch):
    def fail() -> None:
        raise ValueError("JAX was started")

    monkeypatch.setattr("jax.local_devices", fail)
    edit(attention__images=[0, 18])
    line = refused(here, "attention", copy)
    assert "attention.images holds 18, the test set has 18 images; allowed: 0 to 17" in line
