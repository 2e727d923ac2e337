"""Class names as the page shows them."""

from collections.abc import Sequence

MAX_CLASS_NAME = 40  # characters


def shorten_class_name(name: str) -> str:
    """Cut a class name to at most `MAX_CLASS_NAME` characters."""
    return name if len(name) <= MAX_CLASS_NAME else f"{name[: MAX_CLASS_NAME - 1]}…"


def find_numbered(class_names: Sequence[str], names_in_figures: Sequence[str]) -> list[int]:
    """Return the classes that figures show by their number, since no font has their letters."""
    pairs = zip(class_names, names_in_figures, strict=True)
    return [number for number, (name, shown) in enumerate(pairs) if name != shown]
