"""The page in a real browser: hostile class names, contrast, structure, other shapes."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe

from vit_hk.report.mailed_page import Origin, add_run, read_stage_page
from vit_hk.weights_metadata import weights_digest

HOSTILE = "<script>document.title = 'broken'</script>"
NAMES = ("T-shirt/top", HOSTILE, '"><img src=x onerror=alert(1)>')


@pytest.fixture(scope="module")
def project_folder(make_report, settings_of_tests) -> Path:
    """A report on a model with a class token, one register, 2 x 3 patches, 3 layers and 2 heads."""
    model = settings_of_tests["model"] | {"pool": "cls", "registers": 1, "num_layers": 3}
    return make_report({**settings_of_tests, "model": model}, class_names=NAMES)


@pytest.fixture(scope="module")
def page(open_file, project_folder):
    opened = open_file(project_folder / "results" / "report.html")
    yield opened.page
    assert opened.problems == []
    assert opened.requests == []
    opened.page.close()


def test_class_names_with_html_are_escaped(page):
    assert page.title().startswith("80.00 % on mnist")
    assert page.evaluate("document.querySelectorAll('script:not([type])').length") == 1
    assert page.locator("img[onerror]").count() == 0
    assert page.locator("#classes tbody th").nth(1).inner_text() == HOSTILE[:39] + "…"


def test_the_confusion_matrix_is_shaded_up_to_its_largest_mistake(page):
    # Of each class, the same share is taken for the next class, and none for others.
    cells = page.locator(".matrix td[class^=level]")
    assert cells.evaluate_all("all => all.map(cell => cell.className)") == ["level-4"] * 3


def test_the_mailed_page_has_the_run_and_its_times(open_clean, project_folder, tmp_path):
    page, weights = read_stage_page(project_folder / "results" / "report.html")
    assert weights == weights_digest(project_folder / "models" / "vit.safetensors")
    timing = {"train": {"train_seconds": 89.56}, "evaluate": {"images_per_second": 43803.6}}
    mailed = add_run(page, Origin("<b>short", "0123456789abcdef", is_committed=True), timing)
    assert "no commit and no times" in page
    assert "no commit and no times" not in mailed
    (tmp_path / "page.html").write_text(mailed, "utf-8")
    opened = open_clean(tmp_path / "page.html")
    assert opened.title().startswith("<b>short 0123456: 80.00 % on mnist")
    assert opened.locator("#run").inner_text() == "Run <b>short, commit 0123456."
    assert opened.locator(".headline dd").all_inner_texts()[-4:] == [
        "89.6 s", "with validation, without compilation",
        "43,804 images/s", "classification of the test images",
    ]  # fmt: skip
    assert (
        opened.locator("#not-measured")
        .inner_text()
        .startswith("Not measured with these weights: training speed.")
    )
    found = Axe().run(opened, context="header, #result").response["violations"]
    assert [(rule["id"], node["html"]) for rule in found for node in rule["nodes"]] == []


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


@pytest.mark.parametrize(("scheme", "width"), [("dark", 1200), ("light", 360)])
def test_every_text_has_enough_contrast(page, scheme, width):
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 740})
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
    tree = page.locator(".patches").aria_snapshot()
    assert "row 2, column 3" in tree
    # Regions that scroll can have the focus.
    assert page.locator(".scroll:not([tabindex='0'])").count() == 0


@pytest.mark.parametrize(
    ("model", "how", "cells"),
    [
        ({"pool": "gap", "registers": 2, "num_layers": 3}, {"image_shape": (8, 12, 2)}, 6),
        ({"pool": "cls", "registers": 0, "num_heads": 1}, {"image_shape": (32, 16, 3)}, 32),
    ],
)
def test_other_shapes_of_models_and_images(open_file, make_report, tree, model, how, cells):
    tree["model"] |= model
    folder = make_report(tree, **how)
    opened = open_file(folder / "results" / "report.html")
    page = opened.page
    assert page.locator(".patches button").count() == cells
    box = page.locator(".patches").bounding_box()
    height, width, channels = how["image_shape"]
    assert box["height"] / box["width"] == pytest.approx(height / width, rel=0.01)
    page.locator("[data-part=map-select]").select_option("attention")
    tokens = page.locator(".explorer [data-part=query] option").all_inner_texts()
    registers = [f"register {n + 1}" for n in range(model["registers"])]
    first = "the class token" if model["pool"] == "cls" else "the mean patch"
    assert tokens[0] == f"not pinned: the patch pointed at, or {first}"
    assert tokens[1 : 2 + len(registers)] == [first, *registers]
    assert len(tokens) == 2 + len(registers) + cells
    with np.load(folder / "results" / "attention" / "attention.npz") as file:
        attention = file["attention"][-1, 0].mean(axis=0)[:, -cells:]
    weights = attention[0] if model["pool"] == "cls" else attention[-cells:].mean(axis=0)
    labels = page.locator(".patches button").evaluate_all(
        "cells => cells.map(cell => parseFloat(cell.getAttribute('aria-label').split(':')[1]))"
    )
    np.testing.assert_allclose(labels, 100 * weights, atol=0.052)
    reason = "images of 1 or 3 channels can be drawn; those of this model have 2."
    assert (reason in page.locator("#try").inner_text()) == (channels == 2)
    assert opened.problems == []
    assert opened.requests == []
    page.close()


@pytest.mark.parametrize("channels", [1, 2])
def test_without_room_for_the_attention_of_all_tokens_the_model_computes_it(
    open_file, make_report, tree, monkeypatch, channels
):
    monkeypatch.setattr("vit_hk.report.explorer.MAX_TOKEN_ATTENTION_CHARACTERS", 0)
    folder = make_report(tree, image_shape=(8, 12, channels))
    opened = open_file(folder / "results" / "report.html")
    page = opened.page
    page.locator(".patches button").nth(3).click()
    text = page.locator("[data-part=description]").inner_text()
    caution = page.locator("[data-part=warning]").inner_text()
    left_out = " ".join(page.locator("#explorer .left-out").all_inner_texts())
    if channels == 1:
        assert "attention of the patch in row 2, column 1 (pinned)" in text
        assert left_out == ""
        assert caution == ""
        page.locator("#explorer [data-part=layer]").fill("2")  # the last one
        page.locator("#explorer [data-part=query]").select_option(label="register 1")
        assert page.locator("[data-part=warning]").inner_text() == (
            "Read by nobody: of the last layer, only the patches are used for the prediction."
        )
    else:  # the page has no model for two channels
        assert "attention of the mean patch" in text
        assert caution == "Of this image, the attention of single tokens is left out."
        # The pin stays, in the menu and in the address.
        menu = opened.page.locator("#explorer [data-part=query]")
        pinned = menu.input_value()
        assert pinned.isdecimal()
        assert f"query={pinned}" in opened.page.evaluate("location.hash")
        assert (
            "(pinned)" not in opened.page.locator("#explorer [data-part=description]").inner_text()
        )
        assert "single patches and registers for 4 of the 4 images" in " ".join(left_out.split())
    assert opened.problems == []
    page.close()


def test_data_in_the_page_is_json_without_html(project_folder):
    # A class name could otherwise end the script element.
    text = (project_folder / "results" / "report.html").read_text("utf-8")
    data = text.split('id="explorer-data">')[1].split("</script>")[0]
    assert json.loads(data)["layers"] == 3
    assert "<" not in data
