"""Record the pictures of the README from the page of the last run, in Chromium.

    make pictures

writes docs/images/drawing.webp (a digit is drawn, and prediction and attention follow), try.png,
report.png, flow.png and features.png. It needs results/report.html of a model with the default
settings on full MNIST.
"""

import io
import shutil
from collections.abc import Iterator
from pathlib import Path

from PIL import Image
from playwright.sync_api import FloatRect, Page, sync_playwright

REPORT = Path("results/report.html")
IMAGES = Path("docs/images")
FRAME = 110  # ms
LAST_FRAME = 2600  # ms, to look at the result
PAUSE = 9  # frames between strokes
STEPS = 5  # frames between two points of a stroke
WIDTH = 820  # pixels of the moving picture

# Strokes through points, as shares of the canvas: a 4, and the line that makes a 9 of it.
FOUR = [
    [(0.30, 0.24), (0.29, 0.38), (0.31, 0.50), (0.42, 0.54), (0.55, 0.52), (0.66, 0.46)],
    [(0.66, 0.24), (0.66, 0.46), (0.64, 0.64), (0.61, 0.84)],
]
LID = [[(0.30, 0.25), (0.40, 0.17), (0.54, 0.16), (0.66, 0.24)]]


def main() -> None:
    """Open the page, and record the moving picture and the still ones."""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        page = browser.new_page(viewport={"width": 1060, "height": 1200})
        page.goto(REPORT.resolve().as_uri())
        record_drawing(page)
        photograph_try(page)
        photograph_explorer(page)
        photograph_panels(page)
        browser.close()


def record_drawing(page: Page) -> None:
    """Draw a 4, close it to a 9, and write the frames as an animated WebP."""
    page.get_by_role("button", name="Clear").click()
    page.evaluate("document.querySelector('.try-panes').scrollIntoView()")
    frames = list(draw_strokes(page, [*FOUR, *LID]))
    durations = [FRAME] * (len(frames) - 1) + [LAST_FRAME]
    frames[0].save(
        IMAGES / "drawing.webp", save_all=True, append_images=frames[1:], duration=durations,
        loop=0, quality=72, method=6,
    )  # fmt: skip


def draw_strokes(page: Page, strokes: list[list[tuple[float, float]]]) -> Iterator[Image.Image]:
    """Draw strokes with the mouse, and yield what the page shows after each of its moves."""
    canvas = page.locator("#try-canvas").bounding_box()
    panes = page.locator(".try-panes").bounding_box()
    if canvas is None or panes is None:
        raise RuntimeError("the page has no model to draw for")
    # Above the table of heads ends what changes most; below are notes.
    sheet = page.locator("#try-heads").bounding_box() or panes
    clip: FloatRect = {**panes, "height": sheet["y"] + sheet["height"] - panes["y"]}
    for stroke in strokes:
        (x, y), *rest = stroke
        page.mouse.move(canvas["x"] + x * canvas["width"], canvas["y"] + y * canvas["height"])
        page.mouse.down()
        for start, end in zip(stroke, rest, strict=False):
            for step in range(1, STEPS + 1):
                share = step / STEPS
                x, y = (a + share * (b - a) for a, b in zip(start, end, strict=True))
                page.mouse.move(
                    canvas["x"] + x * canvas["width"], canvas["y"] + y * canvas["height"]
                )
                if step % 2:
                    yield photograph(page, clip)
        page.mouse.up()
        for _ in range(PAUSE):
            yield photograph(page, clip)


def photograph(page: Page, clip: FloatRect) -> Image.Image:
    """Return a part of the page after its next frame, reduced to `WIDTH`."""
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    image = Image.open(io.BytesIO(page.screenshot(clip=clip))).convert("RGB")
    return image.resize(
        (WIDTH, round(image.height * WIDTH / image.width)), Image.Resampling.LANCZOS
    )


def photograph_try(page: Page) -> None:
    """Take a mistake of the model, and switch off the head without which it is right."""
    page.get_by_label("Start from").select_option(index=1)
    page.get_by_role("button", name="Switch off head 3 of layer 1").click()
    page.wait_for_timeout(800)  # until the prediction is announced
    page.mouse.move(0, 0)
    page.locator("#try").screenshot(path=IMAGES / "try.png")
    page.get_by_role("button", name="Switch everything on").click()


def photograph_explorer(page: Page) -> None:
    """Photograph the explorer as it opens: the most faithful map of a mistake."""
    page.evaluate("scrollTo(0, 0)")
    page.locator("#explorer").screenshot(path=IMAGES / "report.png")


def photograph_panels(page: Page) -> None:
    """Photograph the attention flow, and the map of the features after the last layer."""
    page.locator("#flow-drawing").scroll_into_view_if_needed()
    page.locator("#flow-svg path").first.wait_for(state="attached")
    page.locator("#flow-drawing").screenshot(path=IMAGES / "flow.png")
    page.locator("#features-map").scroll_into_view_if_needed()
    page.locator("#features-map[aria-busy=false]").wait_for()
    page.mouse.move(0, 0)
    page.wait_for_timeout(800)  # until the images lie at their places
    page.locator("#features-map").screenshot(path=IMAGES / "features.png")


if __name__ == "__main__":
    main()
