"""A Vision Transformer laboratory in dm-haiku, after "An Image is Worth 16x16 Words".

To predict with trained weights:

    import vit_hk

    model = vit_hk.load("models/vit.safetensors")
    model.predict(["seven.png", "four.jpg"]).names
"""

import importlib
from typing import Any

__all__ = ["load"]


def __getattr__(name: str) -> Any:
    """Import `load` when it is first used: it needs JAX, which not all that is here does."""
    if name == "load":
        return importlib.import_module("vit_hk.trained_model").load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
