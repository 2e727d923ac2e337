"""Pages in a real browser, without a window."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from playwright.sync_api import Browser, Page, sync_playwright


class Opened(NamedTuple):
    """A page from disk, and what should stay empty."""

    page: Page
    problems: list[str]  # messages on the console, errors of scripts
    requests: list[str]  # of anything but the file itself and what it holds


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    names = ("chromium", "chromium-browser", "google-chrome")
    program = next(filter(None, map(shutil.which, names)), None)
    if program is None:
        pytest.skip(f"no browser on this machine (looked for {', '.join(names)})")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def open_file(chromium) -> Callable[..., Opened]:
    """Open an HTML file; keyword arguments are those of playwright's Browser.new_page."""

    def run(path: Path, **options: Any) -> Opened:
        page = chromium.new_page(**options)
        opened = Opened(page, [], [])
        own = path.parent.resolve().as_uri()
        page.on("console", lambda m: opened.problems.append(f"{m.type}: {m.text}"))
        page.on("pageerror", lambda error: opened.problems.append(str(error)))
        page.on("request", lambda request: opened.requests.append(request.url))
        page.goto(path.resolve().as_uri())
        opened.requests[:] = [
            url for url in opened.requests if not url.startswith((own, "data:", "blob:"))
        ]
        return opened

    return run
