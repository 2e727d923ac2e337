"""The panels in a real browser, as a person uses them, against the arrays on disk."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import PCA

NAMES = ("left", "<b>middle</b>", "right")
DESKTOP = {"viewport": {"width": 1280, "height": 900}}

# Features of all images of the explorer, as the model of the page computes them: [images, L, D].
FEATURES = """() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const model = makeModel(read("try-data").model);
  return read("explorer-data").images.map(({ pixels }) =>
    [...model.forward(decodePixels(pixels)).features]);
}"""


@pytest.fixture(scope="module")
def folder(make_report, settings_of_tests) -> Path:
    """A report on a model with a class token, one register, 2 x 3 patches, 3 layers and 2 heads."""
    model = settings_of_tests["model"] | {"pool": "cls", "registers": 1, "num_layers": 3}
    return make_report({**settings_of_tests, "model": model}, class_names=NAMES)


@pytest.fixture(scope="module")
def page(open_file, folder):
    """The report, after its features were computed; tests leave controls as they like."""
    opened = open_file(folder / "results" / "report.html", **DESKTOP)
    opened.page.locator("#features-map").scroll_into_view_if_needed()
    opened.page.locator("#features-map[aria-busy=false]").wait_for()
    yield opened.page
    assert opened.problems == []
    assert opened.requests == []
    opened.page.close()


def load(folder: Path, name: str) -> dict[str, np.ndarray]:
    with np.load(folder / "results" / name) as file:
        return dict(file)


def numbers_in(text: str) -> list[float]:
    return [float(word) for word in text.replace(",", "").split() if word[0].isdigit()]


def test_bins_hold_all_test_images(page, folder):
    table = page.locator("#reliability details table tbody tr")
    counts = [int(row) for row in table.locator("td:nth-of-type(1)").all_text_contents()]
    assert sum(counts) == 60
    assert page.locator("#reliability .point").count() == len(counts)
    predictions = pd.read_csv(folder / "results" / "predictions.csv")
    correct = predictions["actual"] == predictions["predicted"]
    last = predictions["probability"] > 14 / 15
    assert counts[-1] == last.sum()
    shown = table.last.locator("td").nth(2).text_content()
    assert shown == f"{100 * correct[last].mean():.2f} %"


def test_calibration_is_told_before_and_after_temperature_scaling(page):
    panel = page.locator("#reliability")
    assert "a temperature of 1.250, fitted on validation images" in panel.inner_text()
    rows = panel.locator("table").first.locator("tbody tr").all_inner_texts()
    assert [row.split("\t") for row in rows] == [
        ["as the model gives them", "0.0125", "0.2500"],
        ["divided by 1.250", "0.0050", "0.2000"],
    ]


def test_the_slider_moves_through_the_epochs_of_the_training(page, folder):
    arrays = load(folder, "snapshots.npz")
    slider = page.get_by_label("After epoch")
    assert page.locator("#training-epoch-text").inner_text() == "2 of 2"
    slider.press("ArrowLeft")
    page.locator("#training-layer").select_option(label="layer 2")
    page.locator("#training-head").select_option(label="head 2")
    items = page.locator("#training-images li")
    assert items.count() == 2
    of_head = arrays["attention"][:, 1, :, 1]  # [snapshots, images, patches]
    assert page.locator("#training-max").inner_text() == f"{100 * of_head.max():.1f} %"
    for image, weights in enumerate(of_head[0]):
        row, column = divmod(int(weights.argmax()), 3)
        assert (
            items.nth(image)
            .locator("canvas")
            .get_attribute("aria-label")
            .endswith(f"{100 * weights.max():.1f} %, goes to row {row + 1}, column {column + 1}")
        )
        predicted = arrays["probabilities"][0, image].argmax()
        assert items.nth(image).inner_text().startswith(f"predicted {NAMES[predicted]}, ")
    correct = (arrays["probabilities"][0].argmax(axis=-1) == arrays["labels"]).sum()
    assert f"After epoch 1: {correct} of 2" in page.locator("#training-summary").inner_text()
    assert slider.get_attribute("aria-valuetext") == f"after epoch 1 of 2, {correct} of 2 correct"


def test_images_lie_at_the_principal_components_of_their_features(page):
    slider = page.get_by_label("After layer")
    slider.press("Home")
    slider.press("ArrowRight")
    features = np.array(page.evaluate(FEATURES)).reshape(60, 3, 8)[:, 1]
    pca = PCA(2, svd_solver="full")
    coordinates = pca.fit_transform(features.astype(np.float64))
    signs = np.sign(pca.components_[[0, 1], np.abs(pca.components_).argmax(axis=1)])
    coordinates *= signs * [1, -1]  # up is positive
    places, box = page.locator("#features-map").evaluate(
        """map => [
          [...map.children].map(({ style }) => [parseFloat(style.left), parseFloat(style.top)]),
          [map.clientWidth, map.clientHeight]]"""
    )
    pixels = np.array(places) / 100 * box
    offsets = coordinates - (coordinates.max(axis=0) + coordinates.min(axis=0)) / 2
    scale = np.abs(pixels - np.array(box) / 2).max() / np.abs(offsets).max()
    np.testing.assert_allclose(pixels, np.array(box) / 2 + scale * offsets, atol=0.5)
    share = pca.explained_variance_ratio_.sum()
    text = page.locator("#features-summary").inner_text()
    assert text.startswith(f"After layer 2: the map holds {100 * share:.0f} % of the variance.")


def test_an_image_of_the_map_opens_in_the_explorer_by_keyboard(page):
    buttons = page.locator("#features-map button")
    assert buttons.evaluate_all("all => all.filter(b => b.tabIndex === 0).length") == 1
    buttons.first.focus()
    for key in ("ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp", "ArrowRight"):
        page.keyboard.press(key)
    assert buttons.evaluate_all("all => all.filter(b => b.tabIndex === 0).length") == 1
    name = page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert page.locator("#features-image").inner_text() == name
    page.keyboard.press("Enter")
    index = name.split(":")[0]
    shown = page.locator("#explorer [data-part=prediction]").inner_text()
    assert shown.startswith(f"{index}:")
    assert page.locator("#explorer").evaluate("s => s.contains(document.activeElement)")


def test_images_at_the_same_place_are_reached_by_keyboard(page):
    buttons = page.locator("#features-map button")
    place = "{ left: '9%', top: '9%', transition: 'none' }"
    buttons.evaluate_all(f"all => all.forEach(b => Object.assign(b.style, {place}))")
    focused = "document.activeElement.getAttribute('aria-label')"
    for key in ("ArrowRight", "ArrowDown"):
        buttons.first.focus()
        reached = [page.evaluate(focused)]
        for _ in range(59):
            page.keyboard.press(key)
            reached.append(page.evaluate(focused))
        assert len(set(reached)) == 60
        assert reached == buttons.evaluate_all("all => all.map(b => b.getAttribute('aria-label'))")
    for key in ("ArrowLeft", "ArrowUp"):
        buttons.nth(5).focus()
        backwards = []
        for _ in range(5):
            page.keyboard.press(key)
            backwards.append(page.evaluate(focused))
        assert backwards == reached[4::-1]
    page.get_by_label("After layer").dispatch_event("input")  # draws the map again


def test_the_flow_is_that_of_the_image_in_the_explorer(page):
    def table() -> list[list[str]]:
        rows = page.locator("#flow-table tbody tr")
        return rows.evaluate_all("all => all.map(r => [...r.cells].map(c => c.textContent))")

    page.evaluate("document.dispatchEvent(new CustomEvent('open-image', { detail: { index: 5 } }))")
    first = table()
    assert page.locator("#flow-summary").inner_text().startswith("Test image 5: ")
    page.evaluate("document.dispatchEvent(new CustomEvent('open-image', { detail: { index: 7 } }))")
    assert page.locator("#flow-summary").inner_text().startswith("Test image 7: ")
    assert table() != first
    # In the last layer only the class token is read; a tenth of the weights is discarded.
    layers = [row[0] for row in table()]
    assert layers == sorted(layers, reverse=True)
    assert (layers.count("2"), layers.count("1")) == (8, 8)
    assert 1 <= layers.count("3") <= 7
    assert {row[2] for row in table() if row[0] == "3"} == {"the class token"}
    assert all(row[1] != row[2] for row in table())
    for layer in "123":
        shares = [float(row[3].removesuffix(" %")) for row in table() if row[0] == layer]
        assert shares == sorted(shares, reverse=True)
    assert page.locator("#flow .taken").count() == len(layers)
    page.get_by_label("Strongest lines").press("Home")
    assert page.locator("#flow .taken").count() == len(table()) == 3
    # Before each layer and after the last one, a circle for each of eight tokens.
    assert page.locator("#flow circle").count() == 4 * 8
    assert page.locator("#flow image").count() == 6
    labels = page.locator("#flow text").all_text_contents()
    assert labels[:2] == ["class", "r1"]


def test_heads_that_look_at_the_same_patches_in_all_images_are_counted(page, folder):
    arrays = load(folder, "attention/mean_attention.npz")
    text = " ".join(page.locator("#mean_attention > p").first.inner_text().split())
    assert "all 60 test images" in text
    # The first head has everything in common, the others two thirds.
    assert "1 of 6 heads has at least 90 % in common" in text
    assert "from 66.7 %" in text
    cells = page.locator("#mean_attention td:has(img)")
    shown = [cell.strip() for cell in cells.all_inner_texts()]
    assert shown == ["100.0 %"] + ["66.7 %"] * 5
    row, column = divmod(int(arrays["mean"][2, 1].argmax()), 3)
    assert (
        cells.last.locator("img")
        .get_attribute("alt")
        .endswith(f"to row {row + 1}, column {column + 1}")
    )
    size = cells.last.locator("img").evaluate("i => [i.naturalWidth, i.naturalHeight]")
    assert size == [3, 2]


def test_parts_of_the_model_sum_to_its_parameters_and_open_their_figures(page):
    counts = page.locator(".architecture > li > .part-line .parameters").all_inner_texts()
    parameters = sum(sum(numbers_in(count)) for count in counts)
    assert f"of {parameters:,.0f} in all" in " ".join(
        page.locator("#architecture > p").inner_text().split()
    )
    targets = page.locator("#architecture a").evaluate_all("all => all.map(a => a.hash.slice(1))")
    assert {"figure-filters", "mean_attention", "flow", "feature_map"} <= set(targets)
    assert all(page.locator(f"[id='{target}']").count() == 1 for target in targets)


def test_scores_of_classes_have_intervals(page):
    cell = page.locator("#classes tbody tr").first.locator("td").nth(1).inner_text()
    share, low, high = numbers_in(cell)
    assert low < share < high


def test_class_names_with_html_are_escaped(page):
    assert page.locator("#panels b").count() == 0
    assert json.loads(page.locator("#training-data").text_content())["labels"]


def test_printing_computes_the_features_first(open_file, folder):
    opened = open_file(folder / "results" / "report.html", viewport={"width": 390, "height": 844})
    page = opened.page
    assert page.locator("#features-map button").count() == 0
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("#features-map button").count() == 60
    assert page.locator("#features-summary").inner_text().startswith("After layer 3: ")
    width, visible = page.evaluate(
        "(e => [e.scrollWidth, e.clientWidth])(document.documentElement)"
    )
    assert width == visible
    assert opened.problems == []
    page.close()


def test_a_page_with_the_model_and_no_room_for_images_says_so(make_report, tree, monkeypatch):
    monkeypatch.setattr("vit_hk.report.explorer.MAX_IMAGE_CHARACTERS", 0)
    monkeypatch.setattr("vit_hk.report.explorer_images.MAX_CHARACTERS", 0)
    text = (make_report(tree) / "results" / "report.html").read_text("utf-8")
    assert 'id="try-data"' in text
    assert "which this page does not hold" not in text
    for name in ("flow", "feature_map"):
        panel = text.split(f'<section class="panel" id="{name}"')[1].split("</section>")[0]
        assert "Left out: this page has no room for" in panel


def test_a_page_without_the_model_names_what_it_leaves_out(make_report, tree, monkeypatch):
    monkeypatch.setattr("vit_hk.report.page.MAX_BYTES", 0)
    monkeypatch.setattr("vit_hk.report.panels.training_maps.MAX_CHARACTERS", 0)
    monkeypatch.setattr("vit_hk.report.panels.mean_attention.MAX_CHARACTERS", 0)
    folder = make_report(tree)
    text = (folder / "results" / "report.html").read_text("utf-8")
    panels = " ".join(text.split('<section id="panels"')[1].split("<script>")[0].split())
    assert panels.count("Left out") == 4
    for name in ("results/snapshots.npz", "results/attention/mean_attention.npz"):
        assert f"<code>{name}</code>" in panels
