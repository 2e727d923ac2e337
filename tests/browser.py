"""Fixtures that open HTML files in a real browser without a window."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

PROGRAMS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
# Pages wait for a pause in what a person does: tests need not wait as long.
FAST_TIMERS = """(() => {
  const start = window.setTimeout;
  window.setTimeout = (run, delay, ...rest) => start(run, (delay ?? 0) / 10, ...rest);
})()"""


def evaluate_as_text(page: Page, function: str, argument: Any) -> Any:
    """Return the value of a JavaScript function; argument and value travel as one text each.

    Playwright would wrap each number of them in an object.
    """
    script = f"text => JSON.stringify(({function})(JSON.parse(text)))"
    return json.loads(page.evaluate(script, json.dumps(argument)))


class OpenedPage(NamedTuple):
    """A page that was opened from disk; `problems` and `requests` should stay empty."""

    page: Page
    problems: list[str]  # console messages and errors of scripts
    requests: list[str]  # URLs outside the folder of the file


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        pytest.skip(f"no browser on this machine (searched for {', '.join(PROGRAMS)})")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def open_file(chromium) -> Callable[..., OpenedPage]:
    """Return a function that opens an HTML file; keyword arguments go to Browser.new_page.

    Timers of the page run ten times as fast.
    """

    def run(path: Path, **options: Any) -> OpenedPage:
        page = chromium.new_page(**options)
        page.add_init_script(FAST_TIMERS)
        opened = OpenedPage(page, [], [])
        inside = (path.parent.resolve().as_uri(), "data:", "blob:")
        page.on("console", lambda m: opened.problems.append(f"{m.type}: {m.text}"))
        page.on("pageerror", lambda error: opened.problems.append(str(error)))
        page.on(
            "request",
            lambda request: request.url.startswith(inside) or opened.requests.append(request.url),
        )
        page.goto(path.resolve().as_uri())
        return opened

    return run


@pytest.fixture
def open_clean(open_file) -> Iterator[Callable[..., Page]]:
    """Return a function as `open_file`; after the test its pages have no problems, no requests."""
    opened: list[OpenedPage] = []

    def run(path: Path, **options: Any) -> Page:
        opened.append(open_file(path, **options))
        return opened[-1].page

    yield run
    for file in opened:
        assert file.problems == []
        assert file.requests == []
        file.page.close()
