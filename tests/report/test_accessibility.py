"""The page with the default model, for a keyboard, a phone, paper, and a screen reader."""

import io
from pathlib import Path
from typing import Any

import pytest
import yaml
from axe_playwright_python.sync_playwright import Axe
from PIL import Image

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
DESKTOP = {"viewport": {"width": 1280, "height": 900}}
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


@pytest.fixture(scope="module")
def report(make_report, project) -> Path:
    """A report with the default settings, on images of the size of MNIST's in ten classes."""
    settings = yaml.safe_load((project / "recipes" / "default.yaml").read_text("utf-8"))
    names = tuple(f"digit {number}" for number in range(10))
    folder = make_report(
        settings, image_shape=(28, 28, 1), class_names=names, num_test=200, wrong=0.05
    )
    return folder / "results" / "report.html"


def opened_once(open_file, report: Path, **options: Any):
    """Yield the page; in the end it had no problems and no requests."""
    opened = open_file(report, **options)
    yield opened.page
    assert opened.problems == []
    assert opened.requests == []
    opened.page.close()


@pytest.fixture(scope="module")
def desktop_page(open_file, report):
    yield from opened_once(open_file, report, **DESKTOP)


@pytest.fixture(scope="module")
def phone_page(open_file, report):
    yield from opened_once(open_file, report, **PHONE)


def open_anew(page):
    page.goto(page.url.split("#")[0])
    return page


@pytest.fixture
def desktop(desktop_page):
    """The page as it is after it was opened on a desktop."""
    return open_anew(desktop_page)


@pytest.fixture
def phone(phone_page):
    """The page as it is after it was opened on a phone."""
    return open_anew(phone_page)


def violations(page, context: str | None = None) -> list[tuple[str, str]]:
    """Return what axe finds on the page, or in the parts of it that a selector names."""
    options = {"runOnly": RULES, "resultTypes": ["violations"]}
    found = Axe().run(page, context, options=options).response["violations"]
    return [(rule["id"], node["html"]) for rule in found for node in rule["nodes"]]


def test_axe_finds_nothing_on_a_desktop(desktop):
    desktop.locator("#explorer .patches button").nth(5).click()  # pinned, and marked as not read
    assert violations(desktop) == []
    desktop.locator(".enlarge").first.click()
    assert violations(desktop, "dialog[open]") == []


def test_axe_finds_nothing_on_a_dark_phone_with_all_details_open(phone):
    page = phone
    page.emulate_media(color_scheme="dark")
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    page.locator("#explorer [data-part=label]").select_option("1")
    page.locator("#explorer [data-part=predicted]").select_option("0")  # no such image
    assert violations(page) == []


def test_the_map_is_on_the_first_screen_of_a_desktop(desktop):
    page = desktop
    for selector in (".headline", ".strip", ".map-stack", ".explorer .bar .colors"):
        box = page.locator(selector).first.bounding_box()
        assert box["y"] + box["height"] <= 900


def test_on_a_phone_map_bar_and_layer_are_visible_together(phone):
    page = phone
    page.locator(".map-stack").evaluate("map => map.scrollIntoView()")
    for selector in (".map-stack", ".explorer .bar", "#explorer [data-part=layer]"):
        box = page.locator(selector).first.bounding_box()
        assert 0 <= box["y"] < box["y"] + box["height"] <= 844
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    hint = page.locator("#mistakes .scrolls")
    assert hint.is_visible()
    text = page.locator("main").inner_text()
    assert "tap a patch" in text
    assert "click" not in text.lower()
    page.set_viewport_size({"width": 900, "height": 844})
    page.wait_for_function("!document.querySelector('.scrolls').classList.contains('is-needed')")


def test_a_tap_points_at_a_patch_the_next_one_pins_it_and_the_third_one_unpins(phone):
    page = phone
    patch = page.locator("#explorer .patches button").nth(6)
    description = page.locator("#explorer [data-part=description]")
    before = description.inner_text()
    patch.tap()
    assert description.inner_text() == before
    pointed = page.locator("#explorer [data-part=patch-text]").inner_text()
    assert pointed.startswith("Row 2, column 3 gets ")
    patch.tap()
    assert "the patch in row 2, column 3 (pinned)" in description.inner_text()
    patch.tap()
    assert "(pinned)" not in description.inner_text()


def test_a_tap_enlarges_an_image_of_the_feature_map_and_the_next_one_opens_it(phone):
    page = phone
    page.locator("#features-map").scroll_into_view_if_needed()
    page.locator("#features-map[aria-busy=false]").wait_for()
    assert "tap it again" in page.locator("#feature_map").inner_text()
    image = page.locator("#features-map button").last  # no other one lies on it
    name = image.get_attribute("aria-label")
    prediction = page.locator("#explorer [data-part=prediction]")
    before, width = prediction.inner_text(), image.bounding_box()["width"]
    image.tap()
    assert page.locator("#features-image").inner_text() == name
    assert image.bounding_box()["width"] == pytest.approx(3 * width, rel=0.01)
    assert prediction.inner_text() == before
    image.tap()
    assert prediction.inner_text().startswith(name.split(":")[0] + ":")


def focused(page) -> str:
    """Return what has the focus: its name, or its text."""
    return page.evaluate("""() => {
      const { activeElement: e } = document;
      if (e === document.body) return "";
      return e.ariaLabel || e.labels?.[0]?.textContent.trim() || e.textContent.trim();
    }""")


def test_every_control_is_reached_by_keyboard_alone(desktop):
    page = desktop
    # One stop for each group of which arrow keys move inside: images, patches, sheet.
    # Controls may appear or be drawn again while a person tabs, as panels are computed.
    expected = page.evaluate("""() => {
      const all = "a[href], button, input, select, summary, [tabindex='0']";
      window.stops = [...document.querySelectorAll(all)].filter((e) =>
        e.checkVisibility() && e.tabIndex >= 0 && !e.disabled
        && !(e.type === "radio" && !e.checked));
      window.visited = [];
      document.addEventListener("focusin", (event) => visited.push(event.target));
      return stops.length;
    }""")
    for _ in range(expected + 3):
        page.keyboard.press("Tab")
    left_out = """() => stops.filter((e) => e.isConnected && !visited.includes(e))
      .map((e) => e.outerHTML.slice(0, 200))"""
    assert page.evaluate(left_out) == []
    places = page.evaluate(f"""() => {{
      const all = [...document.querySelectorAll("*")];
      return visited.slice(0, {expected}).map((e) => all.indexOf(e)).filter((n) => n >= 0);
    }}""")
    assert places == sorted(set(places))


def test_the_explorer_by_keyboard(desktop):
    page = desktop
    prediction = page.locator("#explorer [data-part=prediction]")
    page.locator("#explorer [data-part=order]").focus()
    page.keyboard.press("Tab")
    before = prediction.inner_text()
    page.keyboard.press("ArrowRight")
    assert prediction.inner_text() != before
    page.keyboard.press("Tab")
    assert focused(page).startswith("row 1, column 1: ")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert focused(page).startswith("Layer")
    page.keyboard.press("ArrowLeft")
    description = page.locator("#explorer [data-part=description]")
    assert description.inner_text().startswith(
        "Layer 3, mean over heads: attention of the patch in row 1, column 2 (pinned)."
    )
    page.keyboard.press("Escape")
    assert "attention of the class token." in description.inner_text()


def test_a_cell_of_the_confusion_matrix_opens_its_images_and_the_focus_returns(desktop):
    page = desktop
    link = page.locator(".matrix a").first
    assert link.get_attribute("aria-label").endswith(": true digit 0, predicted digit 1")
    count = int(link.inner_text())
    link.focus()
    page.keyboard.press("Enter")
    inputs = page.locator("#explorer input[name=image]")
    assert inputs.count() == count
    texts = page.locator("#explorer .strip label span").all_inner_texts()
    assert set(texts) == {"true digit 0, predicted digit 1"}
    assert page.evaluate("document.activeElement === document.querySelector('.strip :checked')")
    assert page.locator(".pair:visible").count() == 0
    page.get_by_role("button", name="Back to where you came from").press("Enter")
    assert link.evaluate("link => link === document.activeElement")
    # A point of a plot says the image in an event.
    index = page.evaluate("""() => {
      const { images } = JSON.parse(document.getElementById("explorer-data").textContent);
      const index = images.at(-1).index;
      document.dispatchEvent(new CustomEvent("open-image", { detail: { index } }));
      return index;
    }""")
    text = page.locator("#explorer [data-part=prediction]").inner_text()
    assert text.startswith(f"Test image {index}: ")
    assert inputs.count() > count  # the filter does not hide it


def test_a_figure_is_enlarged_and_escape_returns_the_focus(desktop):
    page = desktop
    button = page.locator(".enlarge").first
    button.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    assert dialog.is_visible()
    assert dialog.locator("img").get_attribute("src") == button.locator("img").get_attribute("src")
    page.keyboard.press("Escape")
    assert dialog.is_hidden()
    assert button.evaluate("button => button === document.activeElement")


def test_without_javascript_nothing_is_dead(open_clean, report):
    page = open_clean(report, **DESKTOP, java_script_enabled=False)
    controls = page.locator("input, button, select, canvas").filter(visible=True)
    assert controls.count() == 0
    link = page.locator(".matrix a").first
    link.click()
    assert page.locator(".pair:visible").count() == 1
    assert page.locator(".picture img").first.is_visible()
    assert "needs JavaScript" in page.locator("#try").inner_text()


@pytest.mark.parametrize("how", [{"media": "print"}, {"forced_colors": "active"}])
def test_paper_and_forced_colours_keep_the_map(desktop, how):
    desktop.emulate_media(**how)
    picture = desktop.locator(".map-stack").first.screenshot()
    with Image.open(io.BytesIO(picture)) as image:
        colors = {color for _, color in image.convert("RGB").getcolors(2**20)}
    assert (253, 231, 37) in colors  # the end of the bar
    bar = desktop.locator(".bar .colors").first
    assert bar.evaluate("bar => getComputedStyle(bar).backgroundImage").count("rgb") == 256
    assert bar.evaluate("bar => getComputedStyle(bar).printColorAdjust") == "exact"
    desktop.emulate_media(media="null", forced_colors="null")
