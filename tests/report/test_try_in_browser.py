"""The section "Try the model" in a real browser: drawing, files, parts switched off, keyboard."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from browser import evaluate_as_text
from PIL import Image

from vit_hk.data.dataset import load_dataset
from vit_hk.data.image_preparation import prepare_image
from vit_hk.data.inversion import looks_inverted, looks_usual
from vit_hk.params import Preparation

NAMES = ("left", "<b>middle</b>", "right")

# The model of the page on the pixels that the page shows as seen, with parts switched off.
EXPECTED = """(off) => {
  const data = JSON.parse(document.getElementById("try-data").textContent);
  const [height, width, channels] = data.model.image_shape;
  const seen = document.getElementById("try-seen").getContext("2d")
    .getImageData(0, 0, width, height).data;
  const pixels = Array.from({ length: height * width * channels }, (_, n) =>
    seen[4 * Math.floor(n / channels) + (n % channels)]);
  const sets = {};
  for (const kind of ["heads", "layers", "patches"]) sets[kind] = new Set(off[kind] ?? []);
  return [...makeModel(data.model).forward(pixels, sets).probabilities];
}"""


@pytest.fixture(scope="module")
def digits_folder(make_report, settings_of_tests) -> Path:
    """A report on images of 28 x 28 pixels in 2 x 2 patches, with 3 layers and 2 heads."""
    model = settings_of_tests["model"] | {
        "pool": "cls", "registers": 1, "num_layers": 3, "patch_size": 14,
    }  # fmt: skip
    settings = {**settings_of_tests, "model": model}
    return make_report(settings, image_shape=(28, 28, 1), class_names=NAMES)


@pytest.fixture(scope="module")
def colours_folder(make_report, settings_of_tests) -> Path:
    """A report on colour images of 8 x 12 pixels in 2 x 3 patches, classified by their mean."""
    return make_report(settings_of_tests, image_shape=(8, 12, 3), class_names=NAMES)


@pytest.fixture(scope="module")
def digits_page(open_file, digits_folder):
    yield from opened_once(open_file, digits_folder)


@pytest.fixture(scope="module")
def colours_page(open_file, colours_folder):
    yield from opened_once(open_file, colours_folder)


@pytest.fixture
def page(digits_page):
    return open_anew(digits_page)


@pytest.fixture
def page_of_colours(colours_page):
    return open_anew(colours_page)


def opened_once(open_file, folder: Path):
    """Yield the page of a report, which a finger or a mouse may use."""
    opened = open_file(folder / "results" / "report.html", has_touch=True)
    yield opened.page
    assert opened.problems == []
    assert opened.requests == []
    opened.page.close()


def open_anew(page):
    """Open a page again, and wait for its first prediction."""
    page.goto(page.url.split("#")[0])
    settle(page)
    return page


def settle(page) -> str:
    """Wait for the announcement of the last change, and return it."""
    page.locator("#try-app[aria-busy=false]").wait_for()
    return page.locator("#try-status").inner_text()


def seen_pixels(page) -> np.ndarray:
    """Return what the page shows as seen by the model, uint8 [height, width, 3]."""
    seen = page.locator("#try-seen").evaluate(
        """({ height, width }) => JSON.stringify([height, width, [...document
          .getElementById("try-seen").getContext("2d").getImageData(0, 0, width, height).data]])"""
    )
    height, width, pixels = json.loads(seen)
    return np.array(pixels, np.uint8).reshape(height, width, 4)[..., :3]


def shown_probabilities(page) -> list[float]:
    cells = page.locator("#try-probabilities tbody td:nth-of-type(2)").all_inner_texts()
    return [float(cell.removesuffix(" %")) for cell in cells]


def assert_predicts(page, **off: list[int]) -> None:
    expected = 100 * np.array(page.evaluate(EXPECTED, off))
    np.testing.assert_allclose(shown_probabilities(page), expected, atol=0.051)


def draw(page, *points: tuple[float, float]) -> None:
    """Draw a line through points, given as shares of the width and the height of the canvas."""
    canvas = page.locator("#try-canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=5)
    page.mouse.up()


def drop(page, name: str, content: bytes) -> None:
    """Drop a file on the canvas."""
    transfer = page.evaluate_handle(
        """([name, bytes]) => {
          const transfer = new DataTransfer();
          transfer.items.add(new File([Uint8Array.from(bytes)], name));
          return transfer;
        }""",
        [name, list(content)],
    )
    for kind in ("dragover", "drop"):
        page.locator("#try-canvas").dispatch_event(kind, {"dataTransfer": transfer})
    page.locator("#try-start option[value=file]", has_text=name).wait_for(state="attached")


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def test_an_unchanged_test_image_reaches_the_model_pixel_for_pixel(page, digits_folder):
    images = load_dataset(digits_folder / "data" / "dataset.npz").x_test
    assert (seen_pixels(page)[..., :1] == images[0]).all()
    assert_predicts(page)
    page.get_by_label("Start from").select_option(index=3)  # an empty image, then the test images
    settle(page)
    assert (seen_pixels(page)[..., :1] == images[2]).all()
    page.locator("input[name=image]").nth(1).check()
    page.get_by_role("button", name="Take the image of the explorer").click()
    settle(page)
    assert (seen_pixels(page)[..., :1] == images[1]).all()
    assert page.get_by_label("Start from").input_value() == "1"


def test_a_drawing_is_scaled_and_centred_as_in_mnist(page):
    page.get_by_role("button", name="Clear").click()
    draw(page, (0.1, 0.1), (0.1, 0.3))  # a short line in a corner
    settle(page)
    drawn = seen_pixels(page)[..., 0].astype(float)
    rows, columns = np.nonzero(drawn > 20)
    assert 19 <= np.ptp(rows) + 1 <= 21  # the longer side of its box
    centre = (drawn.sum(1) @ np.arange(28), drawn.sum(0) @ np.arange(28)) / drawn.sum()
    np.testing.assert_allclose(centre, 13.5, atol=0.5)
    assert_predicts(page)
    page.get_by_label("Centre and scale").uncheck()
    settle(page)
    rows, columns = np.nonzero(seen_pixels(page)[..., 0] > 20)
    # From 0.1 to 0.3 of 28 pixels, with half the stroke of 9 % around it.
    assert abs(rows.min() - (0.1 * 28 - 1.25)) <= 1
    assert abs(rows.max() + 1 - (0.3 * 28 + 1.25)) <= 1
    assert abs(columns.max() + 1 - (0.1 * 28 + 1.25)) <= 1


def test_drawing_erasing_undo_and_clear_change_the_prediction(page):
    start = page.get_by_label("Start from")
    before = seen_pixels(page)
    assert page.get_by_role("button", name="Undo").is_disabled()
    page.get_by_label("erase").check()
    draw(page, (0.2, 0.5), (0.8, 0.5))
    settle(page)
    after = seen_pixels(page)
    row = after[14, 8:20]  # below the stroke
    assert row.max() == 0
    assert before[14, 8:20].max() > 0
    assert (after[:10] == before[:10]).all()
    assert_predicts(page)
    assert start.input_value() == "0"
    undo, clear = (page.get_by_role("button", name=name) for name in ("Undo", "Clear"))
    clear.focus()
    page.keyboard.press("Enter")
    settle(page)
    assert seen_pixels(page).max() == 0
    assert start.input_value() == "blank"
    assert "Nothing is drawn yet" in page.locator("#try-status").inner_text()
    undo.focus()
    page.keyboard.press("Enter")
    settle(page)
    assert (seen_pixels(page) == after).all()
    page.keyboard.press("Enter")
    settle(page)
    assert (seen_pixels(page) == before).all()


def test_the_width_of_strokes_can_be_set_by_keyboard(page):
    page.get_by_role("button", name="Clear").click()
    page.get_by_label("Centre and scale").uncheck()
    page.get_by_label("Stroke width").focus()
    page.keyboard.press("End")
    assert page.locator("#try-width-text").inner_text() == "25 % of the image"
    draw(page, (0.2, 0.5), (0.8, 0.5))
    settle(page)
    assert seen_pixels(page)[:, 14, 0].sum() / 255 == pytest.approx(7, abs=0.1)  # rows


def test_a_second_drawing_is_cleared_too(page):
    for _ in range(2):
        page.get_by_role("button", name="Clear").click()
        settle(page)
        assert seen_pixels(page).max() == 0
        draw(page, (0.2, 0.5), (0.8, 0.5))
        settle(page)
        assert seen_pixels(page).max() > 200
    page.get_by_role("button", name="Undo").click()
    settle(page)
    assert seen_pixels(page).max() == 0


def test_a_finger_draws(page):
    page.get_by_role("button", name="Clear").tap()
    settle(page)
    page.locator("#try-canvas").tap()
    settle(page)
    assert seen_pixels(page).max() > 200
    assert page.locator("#try-canvas").evaluate("c => getComputedStyle(c).touchAction") == "none"


def test_a_dropped_photo_on_bright_paper_is_inverted(page):
    photo = np.full((90, 120, 3), 240, np.uint8)
    photo[20:70, 50:60] = 10
    drop(page, "photo.png", png(photo))
    text = settle(page)
    assert text.startswith(
        "The border of photo.png is bright, that of the training images dark, so it is inverted. "
    )
    invert = page.get_by_label("Invert brightness")
    assert invert.is_checked()
    page.get_by_label("Centre and scale").uncheck()
    settle(page)
    seen = seen_pixels(page)[..., 0].astype(int)
    preparation = Preparation(height=28, width=28, channels=1, resize="crop", background=0)
    expected = 255 - prepare_image(Image.fromarray(photo), preparation)[..., 0].astype(int)
    assert np.abs(seen - expected).mean() < 3  # the browser resizes in another way than Pillow
    assert seen[14, 12] > 200
    assert_predicts(page)
    invert.uncheck()
    settle(page)
    assert np.abs(seen_pixels(page)[..., 0].astype(int) - (255 - seen)).max() <= 1


def test_a_photo_is_centred_by_its_ink_whatever_the_grey_of_its_paper(page):
    for paper in (250, 222, 205):  # inverted, they have brightness 5, 33 and 50 of 255
        photo = np.full((140, 140, 3), paper, np.uint8)
        photo[20:60, 30:40] = 10
        drop(page, f"paper {paper}.png", png(photo))
        assert "so it is inverted" in settle(page)
        ink = seen_pixels(page)[..., 0] > 150
        assert ink.sum(axis=0).max() == 20  # the stroke of 40 x 10 pixels
        assert ink.sum(axis=1).max() == 4  # and half of two pixels beside them
        # Beside the photo there is more of its paper.
        assert abs(int(seen_pixels(page)[0, 0, 0]) - (255 - paper)) <= 1


def test_ink_on_nothing_is_seen_in_white_on_black(page):
    drawn = np.zeros((28, 28, 4), np.uint8)
    drawn[6:22, 12:16, 3] = 255  # black, opaque in the middle only
    drop(page, "ink.png", png(drawn))
    assert settle(page).startswith("The border of ink.png is bright")
    page.get_by_label("Centre and scale").uncheck()
    settle(page)
    np.testing.assert_array_equal(seen_pixels(page)[..., 0], drawn[..., 3])


def test_borders_are_examined_as_predict_does(page):
    random = np.random.default_rng(0)
    usual = np.array([0.0, 0.3], np.float32)
    images = []
    for _ in range(300):  # a background, noise and ink of any strength, so that each rule decides
        noise = random.integers(0, [1, 10, 60][random.integers(3)], (9, 9))
        image = random.integers(120, 256) + noise
        image[2:7, random.integers(1, 8)] = random.integers(256)
        image[0, : random.integers(6)] = random.integers(256)
        images.append(image.clip(0, 255).astype(np.uint8))
    stacked = np.stack(images)[..., np.newaxis]
    found = evaluate_as_text(
        page,
        """([images, usual]) => images.map((pixels) =>
          imageInput.examineBorder(Float32Array.from(pixels), [9, 9, 1], usual)).map(
            (found) => [found.looksInverted, found.looksUsual])""",
        [np.concatenate([stacked, 255 - stacked]).reshape(600, -1).tolist(), usual.tolist()],
    )
    both = np.concatenate([stacked, 255 - stacked])
    expected = np.stack([looks_inverted(both, usual), looks_usual(both, usual)], axis=1)
    assert found == expected.tolist()
    assert (expected.sum(axis=0) > 30).all()
    assert (expected.sum(axis=0) < 570).all()
    nobody_knows = "imageInput.examineBorder(new Float32Array(81), [9, 9, 1], null).looksInverted"
    assert page.evaluate(nobody_knows) is False


def test_a_photo_of_many_greys_is_not_inverted(page):
    photo = np.random.default_rng(0).integers(100, 256, (28, 28, 1), np.uint8).repeat(3, axis=2)
    drop(page, "photo.png", png(photo))
    assert "inverted" not in settle(page)
    # A file of the size of the model's images keeps its pixels.
    page.get_by_label("Centre and scale").uncheck()
    settle(page)
    assert (seen_pixels(page) == photo).all()


def test_undo_returns_to_the_file_before_and_to_its_name(page):
    for name, level in (("dark.png", 0), ("grey.png", 60)):
        drop(page, name, png(np.full((28, 28, 3), level, np.uint8)))
        settle(page)
    start = page.locator("#try-start option:checked")
    assert start.inner_text() == "grey.png"
    page.get_by_role("button", name="Undo").click()
    settle(page)
    assert start.inner_text() == "dark.png"
    assert seen_pixels(page).max() == 0
    page.locator("#try-start").select_option("blank")
    settle(page)
    page.locator("#try-start").select_option("file")
    settle(page)
    assert start.inner_text() == "dark.png"


def test_one_switch_of_a_group_is_reached_by_tab_after_a_click_and_an_arrow_key(page):
    switches = page.locator("#try-patches button")
    switches.nth(3).click()
    page.keyboard.press("ArrowLeft")
    settle(page)
    assert switches.evaluate_all("all => all.map((button) => button.tabIndex)") == [-1, -1, 0, -1]
    assert switches.nth(2).evaluate("button => button === document.activeElement")


def test_without_the_attention_of_any_layer_no_patch_reaches_the_class_token(page):
    for layer in (1, 2, 3):
        page.get_by_role("button", name=f"Switch off the attention of layer {layer}").click()
    settle(page)
    text = page.locator("#try-rollout-text").inner_text()
    assert text == "Nothing of the patches can reach the class token."


def test_the_last_file_can_be_chosen_again(page):
    photo = np.zeros((28, 28, 3), np.uint8)
    photo[5:20, 10:14] = 250
    drop(page, "photo.png", png(photo))
    settle(page)
    before = seen_pixels(page)
    start = page.locator("#try-start")
    start.select_option("blank")
    settle(page)
    assert seen_pixels(page).max() == 0
    start.select_option("file")
    settle(page)
    assert (seen_pixels(page) == before).all()


def test_a_file_that_is_no_image_is_named_and_changes_nothing(page):
    before = seen_pixels(page)
    page.get_by_label("drop an image file").set_input_files(
        {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"no image"}
    )
    page.locator("#try-status", has_text="notes.txt").wait_for()
    text = settle(page)
    assert text.startswith("notes.txt is not an image that this browser can read; use PNG, JPEG, ")
    assert (seen_pixels(page) == before).all()


def test_what_is_dropped_without_a_file_is_named(page):
    transfer = page.evaluate_handle("() => new DataTransfer()")
    page.locator("#try-canvas").dispatch_event("drop", {"dataTransfer": transfer})
    assert settle(page).startswith("What was dropped is no file; save the image")


def test_colour_images_are_drawn_on_and_dropped(page_of_colours, colours_folder):
    page = page_of_colours
    images = load_dataset(colours_folder / "data" / "dataset.npz").x_test
    assert (seen_pixels(page) == images[0]).all()
    assert page.get_by_label("Centre and scale").count() == 0
    page.get_by_label("Colour", exact=True).fill("#ff8000")
    page.get_by_label("Stroke width").press("End")
    draw(page, (0.1, 0.5), (0.9, 0.5))
    settle(page)
    assert seen_pixels(page)[4, 6].tolist() == [255, 128, 0]
    assert_predicts(page)
    photo = np.zeros((80, 120, 3), np.uint8)
    photo[:, :60, 0], photo[:, 60:, 2] = 250, 200  # red beside blue
    drop(page, "photo.png", png(photo))
    settle(page)
    seen = seen_pixels(page).astype(int)
    assert np.abs(seen[4, 2] - [250, 0, 0]).max() <= 2
    assert np.abs(seen[4, 9] - [0, 0, 200]).max() <= 2
    assert not page.get_by_label("Invert brightness").is_checked()
    page.get_by_label("Invert brightness").check()
    settle(page)
    assert np.abs(255 - seen - seen_pixels(page)).max() <= 1


def test_heads_layers_and_patches_are_switched_off(page):
    before = np.array(shown_probabilities(page))
    assert page.locator("#try-probabilities .try-change:visible").count() == 0
    head = page.get_by_role("button", name="Switch off head 2 of layer 3")
    head.click()
    text = settle(page)
    assert_predicts(page, heads=[5])
    assert head.get_attribute("aria-pressed") == "true"
    assert "Off: head 2 of layer 3. With everything on: " in text
    changes = page.locator("#try-probabilities tbody td.try-change").all_inner_texts()
    found = [float(change.replace("−", "-")) for change in changes]
    np.testing.assert_allclose(found, np.array(shown_probabilities(page)) - before, atol=0.11)
    page.get_by_role("button", name="Switch off the attention of layer 1").click()
    page.get_by_role("button", name="Switch off the patch in row 2, column 1").click()
    text = settle(page)
    assert_predicts(page, heads=[5], layers=[0], patches=[2])
    assert "Off: the attention of layer 1, head 2 of layer 3, 1 patch. With" in text
    page.get_by_role("button", name="Switch everything on").click()
    assert "Off" not in settle(page)
    assert shown_probabilities(page) == before.tolist()
    assert head.get_attribute("aria-pressed") == "false"


def test_parts_are_switched_off_by_keyboard(page):
    for toolbar, last in (("#try-heads", "head 2 of layer 3"), ("#try-patches", "row 2, column 2")):
        buttons = page.locator(f"{toolbar} button")
        buttons.first.focus()
        for key in ("ArrowDown", "ArrowDown", "End", "ArrowRight", "Enter"):
            page.keyboard.press(key)
        name = page.evaluate("document.activeElement.getAttribute('aria-label')")
        assert name.endswith(last)
        # The Tab key stops at one button of a toolbar only.
        tab_stops = "all => all.filter(button => button.tabIndex === 0).length"
        assert buttons.evaluate_all(tab_stops) == 1
    settle(page)
    assert_predicts(page, heads=[5], patches=[3])


def test_with_forced_colours_a_patch_that_is_off_is_marked(page):
    patch = page.locator("#try-patches button").first
    patch.click()
    settle(page)
    page.emulate_media(forced_colors="active")
    with Image.open(io.BytesIO(patch.screenshot())) as image:
        colors = {color for _, color in image.convert("RGB").getcolors(2**20)}
    page.emulate_media(forced_colors="null")
    assert {(222, 143, 5), (26, 28, 31)} <= colors


def test_a_tall_image_is_as_high_as_a_wide_one_is_wide(page):
    sizes = page.evaluate("""() => [[28, 28, 1], [16, 64, 1], [64, 16, 1]].map((shape) => {
      const element = document.createElement("div");
      document.body.append(element);
      fitImage(element, shape, 10);
      const { width, height } = element.getBoundingClientRect();
      element.remove();
      return [width, height];
    })""")
    assert sizes == [[160, 160], [160, 40], [40, 160]]


def test_the_last_patch_stays_on(page_of_colours):
    page = page_of_colours
    patches = page.locator("#try-patches button")
    for patch in range(6):
        patches.nth(patch).click()
    assert settle(page).startswith("One patch has to stay on. ")
    assert_predicts(page, patches=[0, 1, 2, 3, 4])


def test_tiles_and_rollout_show_the_attention_of_the_drawing(page):
    page.get_by_role("button", name="Clear").click()
    draw(page, (0.3, 0.2), (0.7, 0.8))
    settle(page)
    # The tile's patch of the most attention is the yellow one of the maximum over all heads.
    found = page.evaluate("""() => {
      const data = JSON.parse(document.getElementById("try-data").textContent);
      const model = makeModel(data.model);
      const seen = document.getElementById("try-seen").getContext("2d")
        .getImageData(0, 0, 28, 28).data;
      const { attention } = model.forward(Array.from({ length: 784 }, (_, n) => seen[4 * n]));
      const tiles = [...document.querySelectorAll("#try-heads canvas")].map((tile) =>
        [...tile.getContext("2d").getImageData(0, 0, 2, 2).data].filter((_, n) => n % 4 === 0));
      return [[...attention], tiles, data.palette];
    }""")
    attention = np.array(found[0]).reshape(6, 6, 6)[:, 0, 2:]  # of the class token, to patches
    colours = [int(colour[1:3], 16) for colour in found[2]]
    places = np.rint(np.sqrt(attention / attention.max()) * (len(colours) - 1)).astype(int)
    assert np.array(found[1]).tolist() == np.array(colours)[places].tolist()
    assert page.locator("#try-max").inner_text() == f"{100 * attention.max():.1f} %"
    text = page.locator("#try-rollout-text").inner_text()
    assert text.startswith("The share of each patch in what can reach the class token")


def test_heads_are_ranked_by_what_their_absence_changes(page):
    page.get_by_text("What changes without each head?").click()
    rows = page.locator("#try-ranking tbody tr")
    rows.nth(5).wait_for()
    moved = []
    before = np.array(page.evaluate(EXPECTED, {}))
    for index in range(6):
        probabilities = np.array(page.evaluate(EXPECTED, {"heads": [index]}))
        moved.append(np.abs(probabilities - before).sum() / 2)
    order = np.argsort(-np.array(moved), kind="stable")
    names = [f"head {index % 2 + 1} of layer {index // 2 + 1}" for index in order]
    assert rows.locator("th").all_inner_texts() == names
    shares = rows.locator("td:nth-of-type(1)").all_inner_texts()
    assert shares == [f"{100 * moved[index]:.1f} %" for index in order]
    # As soon as the image or the model changes, they are of another one.
    assert (
        page.evaluate("""() => {
      document.querySelector("#try-heads button").click();
      return document.querySelectorAll("#try-ranking tbody tr").length;
    }""")
        == 0
    )
    rows.nth(5).wait_for()


def test_one_change_makes_one_announcement(page):
    page.evaluate("""() => {
      window.announcements = 0;
      new MutationObserver(() => window.announcements++)
        .observe(document.getElementById("try-status"), { childList: true });
      document.getElementById("try-clear").click();
      for (const button of document.querySelectorAll("#try-heads button")) button.click();
    }""")
    settle(page)
    assert page.evaluate("window.announcements") == 1
    # The other one is that of the attention explorer.
    assert page.locator("[role=status]:visible, [aria-live]:visible").count() == 2


def test_a_page_without_room_for_the_weights_says_so(open_file, make_report, tree, monkeypatch):
    monkeypatch.setattr("vit_hk.report.page.MAX_BYTES", 10_000)
    opened = open_file(make_report(tree) / "results" / "report.html")
    assert "Left out: the weights of" in opened.page.locator("#try").inner_text()
    assert opened.page.locator(".patches button").count() == 6  # the explorer works as before
    assert opened.problems == []
    opened.page.close()


def test_the_model_in_the_page_is_json_without_html(digits_folder):
    # A class name could otherwise end the script element.
    text = (digits_folder / "results" / "report.html").read_text("utf-8")
    data = text.split('id="try-data">')[1].split("</script>")[0]
    assert json.loads(data)["class_names"] == list(NAMES)
    assert "<" not in data
