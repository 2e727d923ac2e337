"""The operations that a function consists of, as JAX traces it."""

from collections.abc import Iterator
from typing import Any

import jax


def operations(function: Any, *arguments: Any) -> list[Any]:
    """Return all operations of a function, those inside loops and called functions included."""
    return list(_walk(jax.make_jaxpr(function)(*arguments).jaxpr))


def _walk(jaxpr: Any) -> Iterator[Any]:
    for equation in jaxpr.eqns:
        yield equation
        for value in equation.params.values():
            for part in value if isinstance(value, tuple) else (value,):
                inner = getattr(part, "jaxpr", part)
                if hasattr(inner, "eqns"):
                    yield from _walk(inner)
