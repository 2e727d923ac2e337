"""The versions of Python and of the packages that results depend on."""

import importlib.metadata
import platform

PACKAGES = ("jax", "jaxlib", "dm-haiku", "optax", "numpy")


def installed_versions() -> dict[str, str]:
    """Return versions by name, from the metadata of packages, without importing them."""
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {"Python": platform.python_version(), **versions}
