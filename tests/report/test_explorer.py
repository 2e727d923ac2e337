"""The attention explorer of the page in a real browser, against the arrays on disk."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from browser import evaluate_as_text
from matplotlib import colormaps
from synthetic_results import NUM_TEST

from vit_hk.data.dataset import load_dataset
from vit_hk.explain.methods import METHODS
from vit_hk.explain.rollout import attention_rollout
from vit_hk.inference import run_model
from vit_hk.model.vit import make_model
from vit_hk.params import load_config
from vit_hk.report.attention_arrays import read_attention_arrays
from vit_hk.report.explorer import make_explorer
from vit_hk.report.predictions import read_predictions
from vit_hk.weights import load_weights

NAMES = ("left", "middle", "right")
METHODS_OF_A_CLASS = ("gradient_rollout", "relevance")
POOLED = 0  # the class token, whose patches begin at 2: there is one register


@pytest.fixture(scope="module")
def project_folder(make_report, settings_of_tests) -> Path:
    """A report on a model with a class token, one register, 2 x 3 patches, 3 layers and 2 heads."""
    model = settings_of_tests["model"] | {"pool": "cls", "registers": 1, "num_layers": 3}
    return make_report({**settings_of_tests, "model": model}, class_names=NAMES)


@pytest.fixture(scope="module")
def arrays(project_folder) -> dict[str, np.ndarray]:
    with np.load(project_folder / "results" / "attention" / "attention.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def opened(open_file, project_folder):
    opened = open_file(project_folder / "results" / "report.html")
    yield opened
    assert opened.problems == []
    assert opened.requests == []
    opened.page.close()


# The explorer as it is after it was opened: what it shows, its filters, the address.
RESET = """() => {
  history.replaceState(null, "", location.pathname);
  for (const name of ["kind", "label", "predicted", "order", "scale"]) {
    const select = document.querySelector(`#explorer [data-part=${name}]`);
    select.selectedIndex = 0;
    select.dispatchEvent(new Event("change"));
  }
  document.activeElement.blur();
  dispatchEvent(new PopStateEvent("popstate"));
}"""


@pytest.fixture
def page(opened):
    """The page as it is after it was opened, without what the test before has done."""
    opened.page.mouse.move(0, 0)
    opened.page.evaluate(RESET)
    return opened.page


@pytest.fixture
def reloaded_page(page):
    """The page after a reload; another one follows, since the test changes more than controls."""
    page.reload()
    yield page
    page.evaluate("history.pushState(null, '', location.pathname)")
    page.reload()


def part(page, name: str):
    return page.locator(f"#explorer [data-part={name}]")


def patches(page):
    return page.locator("#explorer .patches button")


def shown_percentages(page) -> list[float]:
    """Return the weight of each patch in percent, from the names that a screen reader reads."""
    labels = patches(page).evaluate_all("all => all.map(cell => cell.ariaLabel)")
    places = [label.split(":")[0] for label in labels]
    assert places == [f"row {row}, column {column}" for row in (1, 2) for column in (1, 2, 3)]
    return [float(label.split(":")[1].removesuffix(" %")) for label in labels]


def assert_shows(page, weights: np.ndarray) -> None:
    assert weights.shape == (6,)
    # The page shows one decimal.
    np.testing.assert_allclose(shown_percentages(page), 100 * weights, atol=0.052)


def show(page, **values: str) -> None:
    for name, value in values.items():
        part(page, name).select_option(value)


def percent(share: float) -> str:
    """Return a share in % as the page writes it."""
    value = 100 * share
    return f"{value:.{1 if value >= 0.95 or value == 0 else 2 if value >= 0.095 else 3}f} %"


def set_layer(page, layer: int) -> None:
    part(page, "layer").fill(str(layer))


def test_the_most_faithful_map_is_shown_first_with_its_score(page, arrays):
    # Of the synthetic scores, rollout has the best one: 0.4784.
    weights = arrays["maps"][1, 0]
    assert_shows(page, weights / weights.sum())
    assert part(page, "description").inner_text() == (
        "Map over all layers: rollout. Its faithfulness on test images is 0.48, the best of this "
        "run (at most 1; random order: 0)."
    )
    largest = weights.argmax()
    assert part(page, "patch-text").inner_text() == (
        f"The largest share of this map, {100 * weights[largest] / weights.sum():.1f} %, goes to "
        f"row {largest // 3 + 1}, column {largest % 3 + 1}."
    )
    assert "rollout, the best map" in page.locator(".headline").inner_text()


def test_attention_of_one_layer_and_head(page, arrays):
    attention = arrays["attention"]
    show(page, **{"map-select": "attention"})
    last = attention[2, 0, :, POOLED, 2:].mean(axis=0)
    assert_shows(page, last)
    assert part(page, "description").inner_text() == (
        "Layer 3, mean over heads: attention of the class token. "
        f"{100 * (1 - last.sum()):.1f} % of it goes to the class token and 1 register."
    )
    assert part(page, "layer-text").inner_text() == "3 of 3"
    show(page, head="1")
    part(page, "layer").press("ArrowLeft")
    assert_shows(page, attention[1, 0, 1, POOLED, 2:])
    assert part(page, "layer").get_attribute("aria-valuetext") == "layer 2 of 3"


@pytest.mark.parametrize(
    ("key", "name", "method"),
    [("gradient_rollout", "maps", 2), ("relevance", "maps", 3), ("relevance-true", "maps_true", 3)],
)
def test_maps_over_all_layers_are_normalized(page, arrays, key, name, method):
    show(page, **{"map-select": key})
    weights = arrays[name][method, 0]
    assert_shows(page, weights / weights.sum())
    text = part(page, "description").inner_text()
    # Faithfulness is measured for the predicted class.
    assert ("is 0.21 (" in text) == (key == "relevance")


def test_the_patch_under_the_pointer_is_the_query_until_the_pointer_leaves(page, arrays):
    set_layer(page, 2)
    patches(page).nth(4).hover()
    assert_shows(page, arrays["attention"][1, 0, :, 2 + 4, 2:].mean(axis=0))
    text = part(page, "description").inner_text()
    assert "attention of the patch in row 2, column 2." in text
    page.mouse.move(0, 0)
    assert_shows(page, arrays["attention"][1, 0, :, POOLED, 2:].mean(axis=0))


def test_a_pin_says_what_other_patches_get_and_stays(page, arrays):
    attention = arrays["attention"]
    patches(page).nth(1).click()  # on the map of all layers: shows the attention of the patch
    patches(page).nth(5).hover()
    own = attention[2, 0, :, 2 + 1, 2:].mean(axis=0)
    assert_shows(page, own)
    assert patches(page).nth(1).get_attribute("aria-selected") == "true"
    assert part(page, "patch-text").inner_text() == (
        f"Row 2, column 3 gets {percent(own[5])} of the attention of the patch in row 1, column 2."
    )
    page.mouse.move(0, 0)
    set_layer(page, 1)
    page.locator("#explorer input[name=image]").nth(1).check()
    show(page, **{"map-select": "relevance"})
    show(page, **{"map-select": "attention"})
    assert_shows(page, attention[0, 1, :, 2 + 1, 2:].mean(axis=0))
    assert "(pinned)" in part(page, "description").inner_text()
    page.get_by_role("button", name="Unpin").click()
    assert_shows(page, attention[0, 1, :, POOLED, 2:].mean(axis=0))


@pytest.mark.parametrize(("token", "name"), [(0, "the class token"), (1, "register 1")])
def test_any_token_can_be_pinned(page, arrays, token, name):
    page.get_by_label("Query token").select_option(label=name)
    patches(page).nth(3).hover()
    weights = arrays["attention"][2, 0, :, token, 2:].mean(axis=0)
    assert_shows(page, weights)
    assert part(page, "patch-text").inner_text() == (
        f"Row 2, column 1 gets {percent(weights[3])} of the attention of {name}."
    )


def test_attention_that_nobody_reads_is_marked(page):
    caution = part(page, "warning")
    patches(page).nth(2).click()
    assert caution.inner_text() == (
        "Read by nobody: of the last layer, only the class token is used for the prediction."
    )
    set_layer(page, 2)
    assert caution.is_hidden()
    set_layer(page, 3)
    page.get_by_label("Query token").select_option(label="register 1")
    assert caution.is_visible()
    page.get_by_label("Query token").select_option(label="the class token")
    assert caution.is_hidden()


def test_keys_move_between_patches_and_layers_and_unpin(page, arrays):
    attention = arrays["attention"]
    set_layer(page, 3)
    cells = patches(page)
    cells.nth(0).focus()
    assert_shows(page, attention[2, 0, :, 2, 2:].mean(axis=0))
    for key in ("ArrowRight", "ArrowDown", "ArrowDown", "PageUp"):  # the second down has no row
        page.keyboard.press(key)
    assert cells.nth(4).evaluate("cell => cell === document.activeElement")
    assert_shows(page, attention[1, 0, :, 2 + 4, 2:].mean(axis=0))
    page.keyboard.press("Enter")
    page.keyboard.press("End")
    assert_shows(page, attention[1, 0, :, 2 + 4, 2:].mean(axis=0))  # pinned
    # The Tab key stops at one patch only, whichever patch had the focus.
    assert cells.evaluate_all("cells => cells.filter(cell => cell.tabIndex === 0).length") == 1
    for name in ("layer", "head", "map-select", "kind"):
        part(page, name).focus()
        page.keyboard.press("PageDown")
        assert_shows(page, attention[2, 0, :, 2 + 4, 2:].mean(axis=0))
        page.keyboard.press("PageUp")
        assert_shows(page, attention[1, 0, :, 2 + 4, 2:].mean(axis=0))
    page.locator("#explorer input[name=image]").first.focus()
    page.keyboard.press("Escape")
    assert_shows(page, attention[1, 0, :, POOLED, 2:].mean(axis=0))


def test_the_sheet_is_a_grid_of_named_buttons_with_a_way_back_to_the_mean(page, arrays):
    attention = arrays["attention"]
    names = (
        part(page, "sheet").get_by_role("button").evaluate_all("all => all.map(b => b.ariaLabel)")
    )
    heads = ["mean of its heads", "head 1", "head 2"]
    assert names == [f"layer {layer}, {head}" for layer in (1, 2, 3) for head in heads]
    page.get_by_role("button", name="layer 1, mean of its heads").focus()
    for key in ("ArrowDown", "End", "Enter"):
        page.keyboard.press(key)
    assert_shows(page, attention[1, 0, 1, POOLED, 2:])
    page.get_by_role("button", name="layer 2, mean of its heads").click()
    assert_shows(page, attention[1, 0, :, POOLED, 2:].mean(axis=0))
    pressed = part(page, "sheet").locator("[aria-pressed=true]")
    assert pressed.evaluate_all("all => all.map(b => b.ariaLabel)") == [
        "layer 2, mean of its heads"
    ]


def expected_color(share: float) -> list[int]:
    """Return the colour of a share of the maximum: viridis on a square-root scale."""
    place = np.rint(np.sqrt(share) * 255) / 255
    return [round(255 * part) for part in colormaps["viridis"](place)[:3]]


def test_colours_are_those_of_the_bar(page, arrays):
    weights = arrays["attention"][2, 0, :, POOLED, 2:]  # of the heads of the last layer
    show(page, **{"map-select": "attention", "head": "1", "scale": "one"})
    # The most frequent colour of each tile: the outline covers some pixels.
    tiles = part(page, "map").evaluate("""canvas => {
      const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      const counts = Array.from({ length: 6 }, () => new Map());
      for (let n = 0; n < data.length / 4; n++) {
        const [x, y] = [n % canvas.width, Math.floor(n / canvas.width)];
        const patch = 3 * Math.floor(2 * y / canvas.height) + Math.floor(3 * x / canvas.width);
        const color = data.slice(4 * n, 4 * n + 4).join();
        counts[patch].set(color, (counts[patch].get(color) ?? 0) + 1);
      }
      return counts.map((some) =>
        [...some].sort((a, b) => b[1] - a[1])[0][0].split(",").map(Number));
    }""")
    for tile, weight in zip(tiles, weights[1] / weights[1].max(), strict=True):
        np.testing.assert_allclose(tile, [*expected_color(weight), 255], atol=2)
    assert part(page, "bar-max").inner_text() == f"{100 * weights[1].max():.1f} %"
    # The middle of the bar has the colour of a quarter of its end.
    assert part(page, "bar-middle").inner_text() == f"{25 * weights[1].max():.1f} %"
    gradient = part(page, "colors").evaluate("bar => bar.style.background")
    assert f"rgb({', '.join(map(str, expected_color(0.25)))})" in gradient
    # A tile of the sheet ends at the maximum over all layers and heads.
    largest = arrays["attention"][:, 0, :, POOLED, 2:].max()
    pixel = (
        page.get_by_role("button", name="layer 3, head 1")
        .locator("canvas")
        .evaluate(
            "canvas => [...canvas.getContext('2d').getImageData(2, 1, 1, 1).data].slice(0, 3)"
        )
    )
    np.testing.assert_allclose(pixel, expected_color(weights[0, 5] / largest), atol=2)
    show(page, scale="all")
    assert part(page, "bar-max").inner_text() == f"{100 * largest:.1f} %"
    assert part(page, "sheet-max").inner_text() == f"{100 * largest:.1f} %"


def test_the_outline_follows_the_edge_of_what_the_image_shows(page):
    # A bright square from pixel 2 to 4 of 6, in grey, in the second of two channels, and in blue.
    inside = page.evaluate("""() => [1, 2, 3].map((channels) => {
      const pixels = new Uint8Array(36 * channels);
      for (const pixel of [14, 15, 20, 21]) pixels[channels * (pixel + 1) - 1] = 200;
      const path = traceOutline(pixels, [6, 6, channels]);
      const context = document.createElement("canvas").getContext("2d");
      context.lineWidth = 0.2;
      const places = [[2, 3], [4, 3], [3, 2], [3, 4], [3, 3], [1, 3], [5, 5], [0, 0]];
      return places.map(([x, y]) => context.isPointInStroke(path, x, y));
    })""")
    assert inside == [[True] * 4 + [False] * 4] * 3


OUTLINES = """([images, shape]) => {
  const { Path2D } = globalThis;
  globalThis.Path2D = class { // of which the lines can be read
    lines = [];
    moveTo(...place) { this.lines.push([place]); }
    lineTo(...place) { this.lines.at(-1).push(place); }
  };
  const outlines = images.map((pixels) => traceOutline(Uint8Array.from(pixels), shape).lines);
  Object.assign(globalThis, { Path2D });
  return outlines;
}"""


def test_texture_is_blurred_away_from_the_outline_and_the_shape_remains(page):
    # As in tests/figures/test_outline.py: a disk with and without noise.
    side, radius = 96, 30
    y, x = np.indices((side, side)) - (side - 1) / 2
    clean = 60 + 130 * np.clip(radius - np.hypot(x, y) + 0.5, 0, 1)
    noise = np.random.default_rng(0).normal(0, 60, clean.shape)
    images = [image.clip(0, 255).astype(int).ravel().tolist() for image in (clean, clean + noise)]
    found = evaluate_as_text(page, OUTLINES, [images, [side, side, 1]])
    for lines, tolerance in zip(found, (1, 6), strict=True):
        start, end = np.array(lines).swapaxes(0, 1)  # [lines, 2] each
        lengths = np.hypot(*(end - start).T)
        assert lengths.sum() < 7 * side
        distance = np.hypot(*((start + end) / 2 - side / 2).T)
        is_circle = np.abs(distance - radius) < tolerance
        assert lengths[is_circle].sum() == pytest.approx(2 * np.pi * radius, rel=0.3)
        assert lengths[is_circle].sum() > 0.9 * lengths.sum()


def test_map_as_a_table(page, arrays):
    page.get_by_text("Map as a table").click()
    table_rows = part(page, "table").locator("tbody tr")
    table_rows.first.wait_for()  # the browser reports an opened table after the click
    rows = table_rows.evaluate_all(
        "rows => rows.map(row => [...row.cells].map(cell => cell.textContent))"
    )
    weights = arrays["maps"][1, 0].reshape(2, 3)
    assert [row[0] for row in rows] == ["1", "2"]
    numbers = [[float(cell) for cell in row[1:]] for row in rows]
    np.testing.assert_allclose(numbers, 100 * weights / weights.sum(), atol=0.052)


def test_attention_of_further_images_is_computed_by_the_model_of_the_page(page, project_folder):
    index = 37  # of the 60 test images, of which attention.npz has four
    page.evaluate("index => document.querySelector(`#explorer [value='${index}']`).click()", index)
    config = load_config(project_folder / "params.yaml")
    dataset = load_dataset(project_folder / "data" / "dataset.npz")
    weights, info, _ = load_weights(
        project_folder / "models/vit.safetensors", config.model, dataset
    )
    model = make_model(config.model, len(NAMES))
    run = jax.jit(lambda images: run_model(model, weights, images, info.normalization).attention)
    attention = np.asarray(run(dataset.x_test[[index]]))
    settings = config.attention
    rollout = attention_rollout(attention, "cls", settings.head_fusion, settings.discard_ratio)
    rollout_shares = 100 * rollout[0, POOLED, 2:] / rollout[0, POOLED, 2:].sum()
    # The page has the weights as float16.
    np.testing.assert_allclose(shown_percentages(page), rollout_shares, atol=0.25)
    patches(page).nth(4).click()
    set_layer(page, 2)
    expected = 100 * attention[1, 0, :, 2 + 4, 2:].mean(axis=0)
    np.testing.assert_allclose(shown_percentages(page), expected, atol=0.25)


MAPS_OF_CLASSES = """([index, classes]) => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const model = makeModel(read("try-data").model);
  const image = read("explorer-data").images.find((image) => image.index === index);
  const result = model.forward(decodePixels(image.pixels));
  return classes.flatMap((number) => {
    const gradient = attentionGradient(model, result, number);
    return ["gradientRollout", "relevance"].map((name) =>
      [...explain[name](model, result.attention, gradient)]);
  });
}"""


def test_further_images_have_the_maps_of_their_predicted_and_their_true_class(page):
    index, true, predicted = 35, 35 % 3, 36 % 3  # a mistake whose attention is not stored
    expected = np.array(page.evaluate(MAPS_OF_CLASSES, [index, [predicted, true]]))
    assert np.ptp(expected, axis=0).max() > 0.05  # tests/report/test_page_model.py checks them
    page.evaluate("index => document.querySelector(`#explorer [value='${index}']`).click()", index)
    keys = [f"{method}{suffix}" for suffix in ("", "-true") for method in METHODS_OF_A_CLASS]
    for key, weights in zip(keys, expected, strict=True):
        show(page, **{"map-select": key})
        assert_shows(page, weights)


def test_each_map_of_the_menu_is_computed_for_further_images(page):
    page.evaluate("document.querySelector('#explorer [value=\"37\"]').click()")
    keys = (
        part(page, "map-select")
        .locator("optgroup option")
        .evaluate_all("all => all.map(option => option.value)")
    )
    assert {key.removesuffix("-true") for key in keys} == set(METHODS)
    for key in keys:
        show(page, **{"map-select": key})
        np.testing.assert_allclose(sum(shown_percentages(page)), 100, atol=0.5)


def listed(page) -> list[int]:
    inputs = page.locator("#explorer input[name=image]")
    return inputs.evaluate_all("all => all.map(input => Number(input.value))")


def test_images_can_be_filtered_and_sorted(page):
    # Test image n has class n % 3; every fifth one is predicted as the next class.
    wrong = list(range(0, NUM_TEST, 5))
    everything = listed(page)
    assert everything[:4] == [0, 1, 2, 3]  # with stored attention
    assert sorted(everything[4:15]) == wrong[1:]  # then all other mistakes
    assert sorted(everything) == list(range(NUM_TEST))
    show(page, kind="wrong")
    assert sorted(listed(page)) == wrong
    show(page, label="1")
    expected = [index for index in wrong if index % 3 == 1]
    assert sorted(listed(page)) == expected
    assert part(page, "count").inner_text() == "4 of 60"
    assert part(page, "prediction").inner_text().startswith("Test image 10: true middle, predicted")
    show(page, order="surest")  # probabilities grow with the index
    assert listed(page) == expected[::-1]
    show(page, order="index")
    assert listed(page) == expected
    show(page, predicted="0")
    assert listed(page) == []
    assert part(page, "none").is_visible()
    show(page, predicted="", label="", kind="correct", order="unsurest")
    assert listed(page)[0] == 1  # image 0 is a mistake


# Changes filters and chooses images in a random order, and returns the texts after each step.
RANDOM_CHOICES = """(steps) => {
  const root = document.querySelector("#explorer");
  const part = (name) => root.querySelector(`[data-part=${name}]`);
  let state = 1;
  const random = (count) => { state = (state * 48271) % 2147483647; return state % count; };
  return Array.from({ length: steps }, () => {
    const strip = [...root.querySelectorAll("input[name=image]")];
    const chosen = random(2) ? strip[random(strip.length)] : undefined;
    if (chosen) chosen.click();
    else {
      const select = part(["kind", "label", "predicted", "order"][random(4)]);
      select.selectedIndex = random(select.length);
      select.dispatchEvent(new Event("change"));
    }
    const listed = [...root.querySelectorAll("input[name=image]")].map((input) => input.value);
    const checked = root.querySelector("input[name=image]:checked")?.value ?? null;
    const shown = part("prediction").textContent.match(/^Test image (\\d+):/)[1];
    return { chosen: chosen?.value ?? null, listed, checked, shown };
  });
}"""


def test_the_strip_marks_the_image_that_is_shown(page):
    for step in page.evaluate(RANDOM_CHOICES, 200):
        assert step["chosen"] in (None, step["shown"])
        assert step["checked"] == (step["shown"] if step["listed"] else None)


def test_small_shares_keep_two_digits(page):
    shares = [0.5, 0.00951, 0.0094, 0.00125, 0.00094, 0.0000131, 0.000004, 0.0]
    written = ["50.0 %", "1.0 %", "0.94 %", "0.13 %", "0.094 %", "0.001 %", "0.0 %", "0.0 %"]
    assert page.evaluate("(shares) => shares.map(percent)", shares) == written
    assert list(map(percent, shares[:2])) == written[:2]


def test_the_layer_slider_goes_from_the_map_over_all_layers_to_each_layer_and_back(page):
    description = part(page, "description")
    before = description.inner_text()
    assert "Map over all layers" in before
    for layer in (3, 1, 2):
        set_layer(page, layer)
        assert f"Layer {layer}," in description.inner_text()
    set_layer(page, 0)
    assert description.inner_text() == before


@pytest.mark.parametrize("key", ["ctrlKey", "metaKey", "altKey"])
@pytest.mark.parametrize("pressed", ["ArrowRight", "PageUp"])
def test_a_key_of_the_browser_is_left_to_it(page, key, pressed):
    press = """([options]) => {
      const cell = document.querySelector("#explorer .patches button");
      cell.focus();
      const event = new KeyboardEvent("keydown", { bubbles: true, cancelable: true, ...options });
      cell.dispatchEvent(event);
      return [event.defaultPrevented, document.activeElement === cell];
    }"""
    assert page.evaluate(press, [{"key": pressed, key: True}]) == [False, True]
    assert page.evaluate(press, [{"key": pressed}])[0]


WARNING_OF = """([markup, score, error]) => {
  const section = document.createElement("section");
  section.innerHTML = markup;
  document.body.append(section);
  const data = JSON.parse(document.getElementById("explorer-data").textContent);
  data.images = data.images.filter((image) => image.pooled_attention);
  Object.assign(data.maps[0], { score, score_error: error });
  makeExplorer(section.firstElementChild, data, null).show({ map: data.maps[0].key });
  const [description, warning] = ["description", "warning"].map(
    (name) => section.querySelector(`[data-part=${name}]`).textContent);
  section.remove();
  return [description, warning];
}"""


@pytest.mark.parametrize(
    ("score", "error", "text", "is_worse"),
    [(-0.05, 0.02, "-0.05", True), (-0.05, 0.03, "-0.05", False), (-0.003, 0.0, "0.00", False)],
)
def test_a_map_is_called_worse_than_random_beyond_two_standard_errors(
    page, project, score, error, text, is_worse
):
    markup = (project / "vit_hk" / "report" / "explorer.html").read_text("utf-8")
    markup = markup.split("#}\n", 1)[1]
    description, warning = page.evaluate(WARNING_OF, [markup, score, error])
    assert f"Its faithfulness on test images is {text} (at most 1" in description
    assert ("worse than a random order" in warning) == is_worse


def test_a_link_to_more_images_than_the_explorer_has_leads_to_their_pictures(page):
    prevented = """(missing) => {
      const link = document.querySelector("[data-label]").cloneNode(true);
      document.body.append(link);
      link.dataset.count = Number(link.dataset.count) + missing;
      const event = new MouseEvent("click", { bubbles: true, cancelable: true });
      let wasPrevented = null;
      addEventListener("click", (event) => {
        wasPrevented = event.defaultPrevented;
        event.preventDefault();
      }, { once: true });
      link.dispatchEvent(event);
      link.remove();
      return wasPrevented;
    }"""
    assert page.evaluate(prevented, 0)
    assert not page.evaluate(prevented, 1)


@pytest.mark.parametrize("key", ["ctrlKey", "metaKey", "shiftKey"])
def test_a_link_with_a_key_is_left_to_the_browser(page, key):
    prevented = """(options) => {
      const link = document.querySelector("[data-label]");
      const event = new MouseEvent("click", { bubbles: true, cancelable: true, ...options });
      addEventListener("click", (event) => {
        window.wasPrevented = event.defaultPrevented;
        event.preventDefault(); // stay on this page
      }, { once: true });
      link.dispatchEvent(event);
      return window.wasPrevented;
    }"""
    assert page.evaluate(prevented, {})
    assert not page.evaluate(prevented, {key: True})


def test_a_link_to_the_image_that_is_shown_shows_it_where_a_filter_hides_it(page):
    show(page, label="0", predicted="2")
    assert listed(page) == []
    index = page.evaluate("""() => {
      const root = document.querySelector("#explorer");
      const text = root.querySelector("[data-part=prediction]").textContent;
      const index = Number(text.match(/^Test image (\\d+):/)[1]);
      document.dispatchEvent(new CustomEvent("open-image", { detail: { index } }));
      return index;
    }""")
    assert len(listed(page)) == NUM_TEST
    focus = page.evaluate("[document.activeElement.value, document.activeElement.checked]")
    assert focus == [str(index), True]


def test_maps_for_the_true_class_are_offered_also_where_all_stored_images_are_right(project_folder):
    settings = load_config(project_folder / "params.yaml").model
    dataset = load_dataset(project_folder / "data/dataset.npz")
    path = project_folder / "results/attention/attention.npz"
    arrays = read_attention_arrays(path, settings, dataset)
    arrays = dataclasses.replace(arrays, maps_true=arrays.maps)
    predictions = read_predictions(project_folder / "results/predictions.csv", dataset)
    explorer = make_explorer(arrays, dataset, predictions, settings, {}, {})
    of_a_class = [f"{name}{end}" for name in METHODS_OF_A_CLASS for end in ("", "-true")]
    assert [map_.key for map_ in explorer.maps] == ["last_layer", "rollout", *of_a_class]


ADDRESS = "location.hash"


# As if a second had passed, and none from then on: changes within a second are one entry of the
# history, however long a busy machine takes for them.
A_SECOND_LATER = """() => {
  const then = performance.now() + 1100;
  performance.now = () => then;
}"""


def test_the_address_says_what_is_shown_and_back_and_forward_work(reloaded_page, arrays):
    page = reloaded_page
    page.locator("#explorer input[name=image]").nth(2).check()
    assert page.evaluate(ADDRESS) == "#image=2&map=rollout&layer=3&head=mean"
    page.evaluate(A_SECOND_LATER)
    patches(page).nth(4).click()
    set_layer(page, 1)
    set_layer(page, 2)
    show(page, head="0")
    address = "#image=2&map=attention&layer=2&head=1&query=6"
    assert page.evaluate(ADDRESS) == address
    weights = arrays["attention"][1, 2, 0, 2 + 4, 2:]
    page.mouse.move(0, 0)
    assert_shows(page, weights)
    page.go_back()
    rollout = arrays["maps"][1, 2]
    assert_shows(page, rollout / rollout.sum())
    page.go_forward()
    assert_shows(page, weights)
    page.reload()
    assert_shows(page, weights)
    page.go_back()
    page.go_back()
    assert page.evaluate(ADDRESS) == ""
    assert part(page, "prediction").inner_text().startswith("Test image 0:")


@pytest.mark.parametrize("section", ["", "#mistakes", "#try"])
def test_pointing_at_patches_leaves_the_address_and_the_history(page, section):
    page.evaluate("section => { if (section) location.hash = section; }", section)
    history = page.evaluate("history.length")
    patches(page).nth(4).hover()
    patches(page).nth(3).hover()
    page.mouse.move(0, 0)
    assert page.evaluate(ADDRESS) == section
    assert page.evaluate("history.length") == history


def test_short_addresses_are_followed_and_bad_ones_ignored(page, arrays):
    page.evaluate("location.hash = '#image=1&layer=2&head=1'")
    assert_shows(page, arrays["attention"][1, 1, 0, POOLED, 2:])
    for bad in (
        "image=60", "image=-1", "image=1e0", "image=", "layer=0", "layer=4", "head=3", "head=x",
        "query=8", "query=patch", "query=pooled", "map=<b>", "constructor=1", "image=0&layer=9",
        "mistakes", "%", "&&=", "image=2&other=1",
    ):  # fmt: skip
        page.evaluate("bad => { location.hash = bad; }", bad)
        assert_shows(page, arrays["attention"][1, 1, 0, POOLED, 2:])
    page.evaluate("location.hash = '#image=3&map=relevance'")
    weights = arrays["maps"][3, 3]
    assert_shows(page, weights / weights.sum())


def test_a_change_is_announced_once_and_pointing_is_not(page):
    counts: dict[str, Any] = page.evaluate("""async () => {
      const status = document.querySelector("#explorer [role=status]");
      let count = 0;
      const all = { childList: true, characterData: true, subtree: true };
      new MutationObserver(() => count++).observe(status, all);
      const wait = () => new Promise((resolve) => setTimeout(resolve, 600));
      const slider = document.querySelector("#explorer [data-part=layer]");
      for (const value of [1, 2, 3, 2]) {
        slider.value = value;
        slider.dispatchEvent(new Event("input"));
      }
      await wait();
      const afterSlider = [count, status.textContent];
      for (const cell of document.querySelectorAll("#explorer .patches button")) cell.focus();
      await wait();
      return { afterSlider, afterFocus: count };
    }""")
    assert counts["afterSlider"][0] == 1
    assert counts["afterFocus"] == 1
    assert "Layer 2, mean over heads: attention of the class token." in counts["afterSlider"][1]


def test_two_explorers_of_a_page_are_independent_and_can_move_together(
    reloaded_page, project, arrays
):
    page = reloaded_page
    markup = (project / "vit_hk" / "report" / "explorer.html").read_text("utf-8")
    markup = markup.split("#}\n", 1)[1]  # without the comment of the template
    page.evaluate(
        """(markup) => {
          document.body.insertAdjacentHTML("beforeend", `<section id="second">${markup}</section>`);
          const data = JSON.parse(document.getElementById("explorer-data").textContent);
          data.images = data.images.filter((image) => image.pooled_attention);
          window.second = makeExplorer(document.querySelector("#second .explorer"), data, null);
          window.changes = [];
          document.addEventListener("explorer-change", ({ detail }) => window.changes.push(detail));
        }""",
        markup,
    )
    first = shown_percentages(page)
    page.evaluate(
        "second.show({ image: 3, map: 'attention', layer: 0, head: 1, query: 4, pinned: true })"
    )
    assert shown_percentages(page) == first
    wanted = {"image": 3, "map": "attention", "layer": 0, "head": 1, "query": 4, "pinned": True}
    assert page.evaluate("changes") == [{**wanted, "activePatch": None}]
    labels = page.locator("#second .patches button").evaluate_all(
        "all => all.map(cell => parseFloat(cell.ariaLabel.split(':')[1]))"
    )
    np.testing.assert_allclose(labels, 100 * arrays["attention"][0, 3, 1, 4, 2:], atol=0.052)
    page.evaluate("""() => document.querySelector("#explorer .explorer").addEventListener(
      "explorer-change", ({ detail }) => second.show(detail))""")
    page.locator("#explorer input[name=image]").nth(1).check()
    set_layer(page, 2)
    assert page.evaluate("second.read()") == page.evaluate("changes.at(-1)")
    assert page.evaluate("second.read().image") == 1
