"""The template, filled."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

LONGEST_NAME = 40  # characters


def render_page(**content: Any) -> str:
    """The page as HTML; all text from outside is escaped.

    Args:
      **content: the variables of report.html.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("report.html").render(**content)


def shorten(name: str) -> str:
    """A name that fits into a heading."""
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"
