"""The page in a real browser, as a person uses it, against the arrays on disk."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

HOSTILE = "<script>document.title = 'broken'</script>"
NAMES = ("T-shirt/top", HOSTILE, '"><img src=x onerror=alert(1)>')


@pytest.fixture(scope="module")
def project_folder(make_report, settings_of_tests) -> Path:
    """A report on a model with a class token, one register, 2 x 3 patches, 3 layers and 2 heads."""
    model = settings_of_tests["model"] | {"pool": "cls", "registers": 1, "num_layers": 3}
    return make_report({**settings_of_tests, "model": model}, class_names=NAMES)


@pytest.fixture(scope="module")
def arrays(project_folder) -> dict[str, np.ndarray]:
    with np.load(project_folder / "results" / "attention" / "attention.npz") as file:
        return dict(file)


@pytest.fixture
def opened(open_file, project_folder):
    opened = open_file(project_folder / "results" / "report.html")
    yield opened
    assert opened.problems == []
    assert opened.requests == []
    opened.page.close()


@pytest.fixture
def page(opened):
    return opened.page


def shown_percentages(page) -> list[float]:
    """Return the weight of each patch in percent, from the names that a screen reader reads."""
    labels = page.locator("#patches button").evaluate_all(
        "cells => cells.map(cell => cell.getAttribute('aria-label'))"
    )
    patches = [label.split(":")[0] for label in labels]
    assert patches == [f"row {row}, column {column}" for row in (1, 2) for column in (1, 2, 3)]
    return [float(label.split(":")[1].removesuffix(" %")) for label in labels]


def assert_shows(page, weights: np.ndarray) -> None:
    assert weights.shape == (6,)
    # The page shows one decimal.
    np.testing.assert_allclose(shown_percentages(page), 100 * weights, atol=0.052)


def test_the_class_token_in_the_last_layer_is_shown_first(page, arrays):
    assert_shows(page, arrays["attention"][2, 0, :, 0, 2:].mean(axis=0))
    text = page.locator("#description").inner_text()
    rest = 100 * (1 - arrays["attention"][2, 0, :, 0, 2:].mean(axis=0).sum())
    assert text == (
        "Layer 3, mean over heads: attention of the class token. "
        f"{rest:.1f} % of it goes to the class token and 1 register."
    )


def test_layer_and_head_can_be_selected(page, arrays):
    page.get_by_label("Head", exact=True).select_option(label="head 2")
    page.get_by_role("slider", name="Layer").focus()
    page.keyboard.press("ArrowLeft")
    assert_shows(page, arrays["attention"][1, 0, 1, 0, 2:])
    assert page.locator("#layer").get_attribute("aria-valuetext") == "layer 2 of 3"
    assert page.locator("#layer-text").inner_text() == "2 of 3"


def test_the_patch_under_the_pointer_is_the_query_until_the_pointer_leaves(page, arrays):
    page.locator("#patches button").nth(4).hover()
    assert_shows(page, arrays["attention"][2, 0, :, 2 + 4, 2:].mean(axis=0))
    description = page.locator("#description").inner_text()
    assert "attention of the patch in row 2, column 2." in description
    page.mouse.move(0, 0)
    assert_shows(page, arrays["attention"][2, 0, :, 0, 2:].mean(axis=0))


def test_a_clicked_patch_stays_the_query_while_weights_of_others_are_read(page, arrays):
    cells = page.locator("#patches button")
    cells.nth(1).click()
    cells.nth(5).hover()
    own = arrays["attention"][2, 0, :, 2 + 1, 2:].mean(axis=0)
    assert_shows(page, own)
    assert cells.nth(1).get_attribute("aria-selected") == "true"
    assert page.locator("#patch-value").inner_text() == f"row 2, column 3: {100 * own[5]:.1f} %"
    cells.nth(1).click()  # unpins it
    page.mouse.move(0, 0)
    cells.nth(1).blur()
    assert_shows(page, arrays["attention"][2, 0, :, 0, 2:].mean(axis=0))


def test_patches_and_layers_by_keyboard(page, arrays):
    cells = page.locator("#patches button")
    cells.nth(0).focus()
    assert_shows(page, arrays["attention"][2, 0, :, 2, 2:].mean(axis=0))
    for key in ("ArrowRight", "ArrowDown", "ArrowDown", "PageUp"):  # the second down has no row
        page.keyboard.press(key)
    assert cells.nth(4).evaluate("cell => cell === document.activeElement")
    assert_shows(page, arrays["attention"][1, 0, :, 2 + 4, 2:].mean(axis=0))
    page.keyboard.press("Enter")
    page.keyboard.press("End")
    assert_shows(page, arrays["attention"][1, 0, :, 2 + 4, 2:].mean(axis=0))  # pinned
    page.keyboard.press("Escape")
    page.keyboard.press("PageDown")
    page.keyboard.press("PageDown")
    assert_shows(page, arrays["attention"][2, 0, :, 0, 2:].mean(axis=0))
    # The Tab key stops at one patch only, whichever patch had the focus.
    assert cells.evaluate_all("cells => cells.filter(cell => cell.tabIndex === 0).length") == 1


def test_a_tap_pins_a_patch(open_file, project_folder, arrays):
    phone = {"viewport": {"width": 360, "height": 740}, "has_touch": True}
    opened = open_file(project_folder / "results" / "report.html", **phone)
    opened.page.locator("#patches button").nth(3).tap()
    assert_shows(opened.page, arrays["attention"][2, 0, :, 2 + 3, 2:].mean(axis=0))
    assert "(pinned)" in opened.page.locator("#description").inner_text()
    opened.page.close()


def test_a_register_can_be_the_query(page, arrays):
    page.get_by_label("Query token").select_option(label="register 1")
    assert_shows(page, arrays["attention"][2, 0, :, 1, 2:].mean(axis=0))


@pytest.mark.parametrize(
    ("label", "name", "method"),
    [
        ("rollout", "maps", 1),
        ("relevance for the predicted class", "maps", 3),
        ("relevance for the true class", "maps_true", 3),
    ],
)
def test_maps_over_all_layers_are_normalized(page, arrays, label, name, method):
    page.get_by_label("Map", exact=True).select_option(label=label)
    weights = arrays[name][method, 0]
    assert_shows(page, weights / weights.sum())
    for control in ("#layer", "#head", "#query"):
        assert page.locator(control).is_disabled()
    text = page.locator("#description").inner_text()
    assert text.startswith(f"Map over all layers: {label}. Faithfulness")
    assert ("0.48" if label == "rollout" else "0.21") in text


def test_another_image_can_be_selected_by_keyboard(page, arrays):
    page.locator("input[name=image]").first.focus()
    page.keyboard.press("ArrowRight")
    assert_shows(page, arrays["attention"][2, 1, :, 0, 2:].mean(axis=0))
    prediction = page.locator("#prediction").inner_text()
    assert prediction.startswith(f"Test image 1: true {NAMES[1][:39]}")
    assert "(correct, probability 87 %)" in prediction
    size = page.locator("#picture").evaluate("image => [image.naturalWidth, image.naturalHeight]")
    assert size == [12, 8]


def test_a_click_on_the_sheet_selects_layer_and_head(page, arrays):
    box = page.locator("#sheet").bounding_box()
    page.locator("#sheet").click(position={"x": 0.25 * box["width"], "y": 0.5 * box["height"]})
    assert_shows(page, arrays["attention"][1, 0, 0, 0, 2:])


def test_colours_are_those_of_the_png_files(page, arrays):
    # The maximum over all layers and heads of the class token has the last colour of viridis.
    weights = arrays["attention"][:, 0, :, 0, 2:]
    layer, head, patch = np.unravel_index(weights.argmax(), weights.shape)
    page.locator("#layer").evaluate(
        "(slider, value) => {slider.value = value; slider.dispatchEvent(new Event('input'))}",
        str(layer + 1),
    )
    page.locator("#head").select_option(str(head))
    color = (
        page.locator("#patches button")
        .nth(int(patch))
        .evaluate("cell => cell.style.backgroundColor")
    )
    assert color.startswith("rgba(253, 231, 37, 0.65")
    # The scale of another map ends at its own maximum unless all maps share one scale.
    page.locator("#layer").press("Home")
    page.locator("#head").select_option("-1")
    assert page.locator("#bar-max").inner_text() == f"{max(shown_percentages(page)):.1f} %"
    page.get_by_label("Colour scale").select_option("all")
    assert page.locator("#bar-max").inner_text() == f"{100 * weights.max():.1f} %"
    assert page.locator("#sheet-max").inner_text() == f"{100 * weights.max():.1f} %"
    assert page.locator("#bar-unit").inner_text() == "attention weight (query: the class token)"


def test_map_as_a_table(page, arrays):
    page.get_by_text("Map as a table").first.click()
    table = page.locator("#numbers tbody tr").evaluate_all(
        "rows => rows.map(row => [...row.cells].map(cell => cell.textContent))"
    )
    expected = arrays["attention"][2, 0, :, 0, 2:].mean(axis=0).reshape(2, 3)
    assert [row[0] for row in table] == ["1", "2"]
    numbers = [[float(cell) for cell in row[1:]] for row in table]
    np.testing.assert_allclose(numbers, 100 * expected, atol=0.052)


def test_a_cell_of_the_confusion_matrix_opens_its_mistakes(page, project_folder):
    assert page.locator(".pair:visible").count() == 0
    link = page.locator(".matrix a").first
    name = f"true {NAMES[0]}, predicted {NAMES[1][:39]}…"
    assert link.get_attribute("aria-label").endswith(f": {name}")
    link.focus()
    page.keyboard.press("Enter")
    pair = page.locator(".pair:visible")
    assert pair.count() == 1
    assert pair.locator("h3").inner_text().startswith(f"{name}: ")
    assert set(pair.locator("img").evaluate_all("all => all.map(i => i.alt)")) == {name}
    with np.load(project_folder / "data" / "dataset.npz") as data:
        wrong = [n for n in range(60) if n % 5 == 0 and data["y_test"][n] == 0]
    texts = pair.locator("li span").all_inner_texts()
    assert texts == [f"test image {n}" for n in wrong]
    assert link.inner_text() == str(len(wrong))
    pair.get_by_text("Close").click()
    assert page.locator(".pair:visible").count() == 0


def test_class_names_with_html_are_escaped(page):
    assert page.title().startswith("80.00 % on mnist")
    assert page.evaluate("document.querySelectorAll('script:not([type])').length") == 1
    assert page.locator("img[onerror]").count() == 0
    assert page.locator("#classes tbody th").nth(1).inner_text() == HOSTILE[:39] + "…"


NAMES_OF_CONTROLS = """() => [...document.querySelectorAll('input, select, button, a, summary')]
  .filter(control => !control.labels?.[0]?.textContent.trim()
    && !control.getAttribute('aria-label') && !control.textContent.trim())
  .map(control => control.outerHTML)"""

CONTRAST = """() => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const rgba = color => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = ([r, g, b]) => [r, g, b].map(c => c / 255)
    .map(c => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, n) => sum + c * [0.2126, 0.7152, 0.0722][n], 0);
  const behind = element => {
    for (let e = element; e; e = e.parentElement) {
      const color = rgba(getComputedStyle(e).backgroundColor);
      if (color[3] === 255) return color;
    }
    throw Error('no background');
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const low = []; let count = 0;
  while (walker.nextNode()) {
    const parent = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || !parent.checkVisibility()
      || parent.closest('script, style, noscript, option')) continue;
    count++;
    const style = getComputedStyle(parent);
    const front = rgba(parent.closest('svg') ? style.fill : style.color);
    const [a, b] = [light(front), light(behind(parent))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) low.push([parent.outerHTML.slice(0, 80), ratio]);
  }
  return [count, low];
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 360])
def test_every_text_has_enough_contrast(open_file, project_folder, scheme, width):
    opened = open_file(
        project_folder / "results" / "report.html",
        color_scheme=scheme,
        viewport={"width": width, "height": 740},
    )
    page = opened.page
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    page.evaluate("document.querySelectorAll('.pair').forEach(p => p.style.display = 'block')")
    count, low = page.evaluate(CONTRAST)
    assert count > 200
    assert low == []
    content_width, page_width = page.evaluate(
        "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    )
    assert content_width <= page_width
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") == (scheme == "light")
    assert opened.problems == []
    page.close()


def test_structure_is_accessible_to_screen_readers(page):
    assert page.evaluate("document.documentElement.lang") == "en"
    assert page.evaluate(NAMES_OF_CONTROLS) == []
    assert page.locator("img:not([alt])").count() == 0
    for landmark in ("main", "header", "nav", "footer", "h1"):
        assert page.locator(landmark).count() == 1
    levels = page.locator("h1, h2, h3, h4").evaluate_all(
        "all => all.map(h => Number(h.tagName[1]))"
    )
    assert levels[0] == 1
    assert all(b - a <= 1 for a, b in itertools.pairwise(levels))
    ids = page.locator("[id]").evaluate_all("all => all.map(e => e.id)")
    assert len(set(ids)) == len(ids)
    named = page.locator("[aria-labelledby], [aria-describedby]").evaluate_all(
        "all => all.map(e => e.ariaLabelledByElements?.[0]?.id ?? e.ariaDescribedByElements[0].id)"
    )
    assert set(named) <= set(ids)
    targets = page.locator("a[href^='#']").evaluate_all("all => all.map(a => a.hash.slice(1))")
    assert set(targets) <= set(ids)
    assert page.locator("table:not(:has(caption))").count() == 0
    assert page.locator("th:not([scope])").count() == 0
    tree = page.locator("#patches").aria_snapshot()
    assert "row 2, column 3" in tree
    # Regions that scroll can have the focus.
    assert page.locator(".scroll:not([tabindex='0'])").count() == 0


@pytest.mark.parametrize(
    ("model", "how", "cells"),
    [
        ({"pool": "gap", "registers": 0}, {"image_shape": (8, 12, 2)}, 6),
        ({"pool": "gap", "registers": 2, "num_heads": 1}, {"image_shape": (16, 8, 3)}, 8),
        ({"pool": "cls", "registers": 0, "num_layers": 12}, {"image_shape": (32, 32, 3)}, 64),
    ],
)
def test_other_shapes_of_models_and_images(open_file, make_report, tree, model, how, cells):
    tree["model"] |= model
    folder = make_report(tree, **how)
    opened = open_file(folder / "results" / "report.html")
    page = opened.page
    assert page.locator("#patches button").count() == cells
    box = page.locator("#patches").bounding_box()
    height, width, _ = how["image_shape"]
    assert box["height"] / box["width"] == pytest.approx(height / width, rel=0.01)
    tokens = page.locator("#query option").all_inner_texts()
    registers = [f"register {n + 1}" for n in range(model["registers"])]
    first = "the class token" if model["pool"] == "cls" else "the mean patch"
    assert tokens[: 1 + len(registers)] == [first, *registers]
    assert len(tokens) == 1 + len(registers) + cells
    with np.load(folder / "results" / "attention" / "attention.npz") as file:
        attention = file["attention"][-1, 0].mean(axis=0)[:, -cells:]
    weights = attention[0] if model["pool"] == "cls" else attention[-cells:].mean(axis=0)
    labels = page.locator("#patches button").evaluate_all(
        "cells => cells.map(cell => parseFloat(cell.getAttribute('aria-label').split(':')[1]))"
    )
    np.testing.assert_allclose(labels, 100 * weights, atol=0.052)
    assert opened.problems == []
    assert opened.requests == []
    page.close()


def test_without_attention_of_all_tokens_the_pooled_token_is_the_only_query(
    open_file, make_report, tree, monkeypatch
):
    monkeypatch.setattr("vit_hk.report.explorer.MAX_TOKEN_ATTENTION_CHARACTERS", 0)
    folder = make_report(tree)
    opened = open_file(folder / "results" / "report.html")
    page = opened.page
    before = page.locator("#description").inner_text()
    page.locator("#patches button").nth(3).click()
    assert page.locator("#description").inner_text() == before
    assert page.locator("#query").is_disabled()
    assert "the attention of single patches and registers for 4 of the 4 images" in " ".join(
        page.locator("#explorer .left-out").inner_text().split()
    )
    assert opened.problems == []
    page.close()


def test_data_in_the_page_is_json_without_html(project_folder):
    # A class name could otherwise end the script element.
    text = (project_folder / "results" / "report.html").read_text("utf-8")
    data = text.split('id="explorer-data">')[1].split("</script>")[0]
    assert json.loads(data)["layers"] == 3
    assert "<" not in data
