"""The versions that results depend on."""

import importlib.metadata
import platform

PACKAGES = ("jax", "jaxlib", "dm-haiku", "optax", "numpy")


def installed_versions() -> dict[str, str]:
    """Python and the packages that train and explain; none of them is imported."""
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {"Python": platform.python_version(), **versions}
