"""What all panels of the page have in common."""

from typing import Any, NamedTuple


class Panel(NamedTuple):
    """A panel: the name of its template and script, its title, and what these two read.

    The template NAME.html reads `data` as the variable `panel.data`; a script reads what the
    template puts into the page as JSON.
    """

    name: str
    title: str
    data: Any
