"""Items that are prepared one ahead of their use."""

from collections.abc import Iterator
from typing import TypeVar

Item = TypeVar("Item")


def prefetch_one(items: Iterator[Item]) -> Iterator[Item]:
    """Yield items one step late: when an item is yielded, the next one has been started.

    So another thread or a GPU prepares the next item while the caller uses this one.
    """
    before: list[Item] = []
    for item in items:
        yield from before
        before = [item]
    yield from before
