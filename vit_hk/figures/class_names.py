"""Class names short enough for figures and tables."""

MAX_CLASS_NAME = 40  # characters


def shorten_class_name(name: str) -> str:
    """Cut a class name to at most `MAX_CLASS_NAME` characters."""
    return name if len(name) <= MAX_CLASS_NAME else f"{name[: MAX_CLASS_NAME - 1]}…"
