"""The page that compares two runs, as a person uses it."""

import io
import json

import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image

from vit_hk.compare.page import render_page
from vit_hk.compare.run import read_run
from vit_hk.compare.sources import find_files


@pytest.fixture(scope="module")
def page_file(project_of_runs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project_of_runs.folder)
        for name in ("main", "deeper"):
            (folder / name).mkdir()
        runs = [read_run(find_files(name, folder / name)) for name in ("main", "deeper")]
        path = folder / "compare.html"
        path.write_text(render_page(*runs), "utf-8")
    return path


@pytest.fixture(scope="module")
def opened(open_file, page_file):
    opened = open_file(page_file, viewport={"width": 1280, "height": 900})
    yield opened
    assert opened.problems == []
    assert opened.requests == []
    opened.page.close()


@pytest.fixture
def page(opened):
    """The page as it is after it was opened."""
    opened.page.goto(opened.page.url.split("#")[0])
    return opened.page


def part(side, name: str):
    """Return an element of an explorer by the name that its script uses."""
    return side.locator(f'[data-part="{name}"]')


def test_parts_of_both_explorers_have_names_of_their_own(page):
    names = page.locator(".explorer .scroll[role=group]").evaluate_all(
        "all => all.map(group => group.getAttribute('aria-label'))"
    )
    assert len(names) == len(set(names)) >= 4


@pytest.fixture
def pinned(page):
    """Return a function that pins tokens of a model in one explorer; it returns those of another.

    Each model is given by the tokens before its patches and the name of its pooled token.
    """
    script = """([[fromTokens, fromName], [toTokens, toName], query]) => {
      const side = (prefix_tokens, query_name) => {
        const root = new EventTarget();
        const sizes = { rows: 2, columns: 2, layers: 2, heads: 2 };
        const show = wanted => { side.shown = wanted; };
        const explorer = { root, has: () => false, hasMap: () => true, show };
        return { data: { prefix_tokens, query_name, ...sizes }, explorer };
      };
      const from = side(fromTokens, fromName), to = side(toTokens, toName);
      moveTogether([from, to]);
      const detail = { image: 0, map: "attention", layer: 0, head: 0, query, pinned: true };
      from.explorer.root.dispatchEvent(new CustomEvent("explorer-change", { detail }));
      return side.shown.query;
    }"""
    return lambda *arguments: page.evaluate(script, list(arguments))


def test_the_class_token_and_the_mean_patch_correspond(pinned):
    of_class, of_mean = [["the class token"], "the class token"], [[], "the mean patch"]
    registers = [["the class token", "register 1"], "the class token"]
    assert pinned(of_class, of_mean, 0) == "pooled"
    assert pinned(of_mean, of_class, "pooled") == 0
    assert pinned(of_class, registers, 0) == 0
    assert pinned(of_class, of_mean, 3) == 2  # the third patch


def test_both_explorers_move_together(page):
    page.set_viewport_size({"width": 1280, "height": 900})
    a, b = (page.get_by_role("group", name=f"Attention of {side}") for side in "AB")

    def descriptions() -> list[str]:
        return [part(side, "description").inner_text() for side in (a, b)]

    # Layer and head.
    part(a, "layer").fill("1")
    part(a, "head").select_option(label="head 2")
    assert all(
        text.startswith("Layer 1, head 2: attention of the class token") for text in descriptions()
    )
    # A layer that A does not have leaves A as it is.
    part(b, "layer").fill("3")
    assert [text.split(",")[0] for text in descriptions()] == ["Layer 1", "Layer 3"]
    assert "A has 2 and B 3 layers." in page.locator("#apart").inner_text()
    # The patch under the pointer, which is no pin; then a pin, taken off at the other side.
    patches = a.get_by_role("gridcell")
    patches.nth(4).hover()
    assert all("attention of the patch in row 2, column 2." in text for text in descriptions())
    patches.nth(4).click()
    page.mouse.move(0, 0)
    assert all("the patch in row 2, column 2 (pinned)" in text for text in descriptions())
    b.get_by_role("button", name="Unpin").click()
    page.mouse.move(0, 0)
    assert all("attention of the class token." in text for text in descriptions())
    # Of the patch under the pointer nothing is announced at the other side.
    status = part(b, "status")
    page.wait_for_function(  # the announcement of the last step
        "([status, text]) => status.textContent.includes(text)",
        arg=[status.element_handle(), part(b, "description").inner_text()],
    )
    before = status.inner_text()
    patches.nth(4).hover()
    page.wait_for_timeout(800)  # twice the pause before an announcement
    assert "row 2, column 2" in part(b, "description").inner_text()
    assert status.inner_text() == before
    page.mouse.move(0, 0)
    # Images: from the list of disagreements, and back.
    link = page.locator("#images a").last
    index = link.get_attribute("data-index")
    link.click()
    for side in (a, b):
        assert part(side, "prediction").inner_text().startswith(f"Test image {index}:")
    page.get_by_role("button", name="Back to where you came from").click()
    assert link.evaluate("link => link === document.activeElement")
    # Only one is right about it.
    texts = [part(side, "prediction").inner_text() for side in (a, b)]
    assert ["(wrong" in texts[0], "(correct" in texts[1]] == [True, True]


def test_pointing_at_a_patch_names_it_in_both_explorers(page):
    page.set_viewport_size({"width": 1280, "height": 900})
    a, b = (page.get_by_role("group", name=f"Attention of {side}") for side in "AB")
    patches = b.get_by_role("gridcell")

    def starts(text: str) -> list[bool]:
        return [part(side, "patch-text").inner_text().startswith(text) for side in (a, b)]

    # In a map over all layers, and in that of a pinned token.
    part(a, "map-select").select_option("rollout")
    patches.nth(4).hover()
    assert starts("Row 2, column 2 gets ") == [True, True]
    part(a, "query").select_option(label="the class token")
    patches.nth(2).hover()
    assert starts("Row 1, column 3 gets ") == [True, True]
    page.mouse.move(0, 0)
    assert starts("The largest share of this attention") == [True, True]


def test_with_forced_colours_the_keys_of_the_curves_have_the_colours_of_the_curves(page):
    key = page.locator(".charts figcaption").first
    page.emulate_media(color_scheme="light", forced_colors="active")
    with Image.open(io.BytesIO(key.screenshot())) as image:
        colors = {color for _, color in image.convert("RGB").getcolors(2**20)}
    page.emulate_media(forced_colors="null")
    assert {(1, 115, 178), (168, 95, 0)} <= colors


@pytest.mark.parametrize("lacking", [0, 1], ids=["first", "second"])
def test_a_map_that_one_run_lacks_leaves_both_explorers_working(
    open_file, page_file, tmp_path, lacking
):
    start, rest = page_file.read_text("utf-8").split('id="runs-data">')
    text, end = rest.split("</script>", 1)
    runs = json.loads(text)
    best = runs[0]["explorer"]["best_map"]
    explorer = runs[lacking]["explorer"]
    explorer["maps"] = [map_ for map_ in explorer["maps"] if map_["key"] != best]
    explorer["best_map"] = None
    path = tmp_path / "compare.html"
    path.write_text(f'{start}id="runs-data">{json.dumps(runs)}</script>{end}', "utf-8")
    opened = open_file(path)
    a, b = (opened.page.locator(f"#explorer-{side}") for side in "ab")
    assert part(a, "map-select").input_value() == (best if lacking else "attention")
    assert part(b, "map-select").input_value() == "attention"
    part(a, "map-select").select_option("attention")
    part(a, "layer").fill("1")
    assert "Layer 1" in part(b, "description").inner_text()
    assert opened.problems == []
    opened.page.close()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_page_fits_the_screen_and_has_no_barrier(page, width, scheme):
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    boxes = [canvas.bounding_box() for canvas in page.locator('canvas[data-part="map"]').all()]
    assert boxes[0]["y"] == pytest.approx(boxes[1]["y"], abs=1)  # side by side
    assert boxes[0]["x"] + boxes[0]["width"] <= boxes[1]["x"]
    assert boxes[1]["width"] > 100
    page.evaluate("document.querySelectorAll('details').forEach(details => details.open = true)")
    options = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
    found = Axe().run(page, options=options).response["violations"]
    assert [(rule["id"], node["html"]) for rule in found for node in rule["nodes"]] == []
