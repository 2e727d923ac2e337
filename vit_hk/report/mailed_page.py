"""The page of a run as it is mailed: that of the stage `report`, with what the stage leaves out.

The page of the stage has the same bytes whenever its run is repeated, so it has no name of the run,
no commit and no times. It has slots for them, each between two comments.
"""

import html
import re
from pathlib import Path
from typing import NamedTuple

from vit_hk.errors import UserError
from vit_hk.report.page import TEMPLATES, render_template
from vit_hk.report.reading import user_error_if_damaged
from vit_hk.report.speed import Timing, list_measurements

GENERATOR = "vit_hk page"  # tells a page of this command from a file of the user
WEIGHTS = re.compile(r'<meta name="weights" content="([0-9a-f]{12})">')
SLOTS = ("run", "speed", "command")


class Origin(NamedTuple):
    """Where the results of a run come from.

    Attributes:
      name: of the experiment or the branch; the name of the folder where neither is known.
      commit: the commit of the results, or where they are in none, the one before them; None
        outside of a repository.
      is_committed: whether the results are those of this commit.
    """

    name: str
    commit: str | None
    is_committed: bool

    @property
    def short_commit(self) -> str | None:
        """The first 7 digits of the commit."""
        return self.commit and self.commit[:7]


def read_stage_page(path: Path) -> tuple[str, str]:
    """Read the page of the stage `report`; return it, and the digest of the weights it is about.

    Raises:
      UserError: the file is no such page.
    """
    with user_error_if_damaged(path, "report"):
        page = path.read_text("utf-8")
    weights = WEIGHTS.search(page)
    if not weights or any(page.count(text) != 1 for slot in SLOTS for text in _comments(slot)):
        raise UserError(
            f"{path} is no page of this version of the project; make it again with: "
            "dvc repro --force --single-item report"
        )
    return page, weights[1]


def add_run(page: str, origin: Origin, timing: Timing) -> str:
    """Return the page with the run's name, its commit and its times.

    Args:
      page: that of the stage `report`.
      origin: where its results come from.
      timing: what was measured with the weights of the page.
    """
    commit = origin.short_commit if origin.is_committed else "(not committed)"
    title = html.escape(f"{origin.name} {commit}")
    head = f'<meta name="generator" content="{GENERATOR}">\n<title>{title}: '
    page = page.replace("<title>", head, 1)
    content = {"origin": origin, "measurements": list_measurements(timing)}
    page = _fill(page, "run", render_template("run.html", (TEMPLATES,), **content))
    page = _fill(page, "speed", render_template("speed.html", (TEMPLATES,), **content))
    return _fill(page, "command", "Its command is <code>python -m vit_hk page</code>.")


def _comments(slot: str) -> tuple[str, str]:
    return f"<!-- {slot} -->", f"<!-- end of {slot} -->"


def _fill(page: str, slot: str, content: str) -> str:
    start, end = _comments(slot)
    before, rest = page.split(start)
    return before + content + rest.split(end)[1]
