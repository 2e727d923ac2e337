import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from stages import attention_figures
from vit_hk.explain.attention_arrays import AttentionArrays
from vit_hk.explain.distance import attention_distance
from vit_hk.explain.entropy import attention_entropy
from vit_hk.model import reference
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


def test_table_of_heads_is_over_all_test_images(finished, attention):
    heads = pd.read_csv(finished[0] / "results" / "attention" / "heads.csv")
    assert heads[["layer", "head"]].to_numpy().tolist() == [[1, 1], [1, 2], [2, 1], [2, 2]]
    # Patches of 4 pixels in 2 rows of 3.
    distances = attention_distance(attention, (2, 3), 4).mean(axis=1)
    np.testing.assert_allclose(heads["distance_pixels"], distances.ravel(), rtol=1e-3)
    entropies = attention_entropy(attention).mean(axis=1)
    np.testing.assert_allclose(heads["entropy_nats"], entropies.ravel(), rtol=1e-3)


@pytest.mark.parametrize(
    "name",
    ["class_maps", "right_wrong", "any_patch", "distance", "entropy", "token_shares", "positions",
     "filters"],
)  # fmt: skip
def test_figure_is_drawn(finished, name):
    path = finished[0] / "results" / "attention" / f"{name}.png"
    assert path.read_bytes().startswith(PNG_SIGNATURE)


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


def test_titles_name_prediction_and_true_class(info, drawn, tiny_dataset):
    indices = np.array([0, 16])  # both of the class left
    maps = np.full((4, 2, 6), 1 / 6)
    arrays = AttentionArrays(
        attention=np.full((2, 2, 2, 8, 8), 1 / 8),
        indices=indices,
        images=tiny_dataset.x_test[indices],
        labels=tiny_dataset.y_test[indices],
        probabilities=np.array([[0.9, 0.05, 0.05], [0.0, 0.25, 0.75]]),
        methods=np.array(["last_layer", "rollout", "gradient_rollout", "relevance"]),
        maps=maps,
        maps_true=maps,
    )
    attention_figures.draw_images(arrays, list(tiny_dataset.class_names), info)
    assert set(drawn) == {
        "01.png", "02.png", "overview.png", "class_maps.png", "any_patch.png",
    }  # fmt: skip
    right, wrong = (drawn[f"0{n}.png"].get_suptitle() for n in (1, 2))
    assert right == "Test image 0: true left, predicted left (90 %)"
    assert wrong == "Test image 16: true left, predicted right (75 %): WRONG"


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
