"""What formats cannot hold, and errors that name formats which can."""

from typing import Any

from vit_hk.errors import UserError
from vit_hk.params import ModelSettings

# The settings of which a format has one value only. ONNX graphs hold every model.
FIXED: dict[str, dict[str, Any]] = {
    "timm": {"stem": "linear", "norm_eps": 1e-6},
    "transformers": {"stem": "linear", "pool": "cls", "qk_norm": False, "registers": 0},
    "google": {
        "stem": "linear", "qk_norm": False, "registers": 0, "gelu": "tanh", "norm_eps": 1e-6
    },
}  # fmt: skip


def check_can_hold(library: str, settings: ModelSettings) -> None:
    """Make sure that a format has a place for all settings of a model.

    Args:
      library: a key of FIXED.
      settings: the architecture.

    Raises:
      UserError: it has none; the message names formats that have.
    """
    if violations := _violations(library, settings):
        key = violations[0]
        allowed = _text(FIXED[library][key])
        raise UserError(
            f"model.{key} is {_text(getattr(settings, key))}, and {library} has {allowed}; "
            f"{alternatives(library, settings)}"
        )


def alternatives(library: str, settings: ModelSettings) -> str:
    """Return the advice to export a model to formats that hold it, and not to this one."""
    # Google's format is for few models, and for square images alone.
    others = (name for name in ("timm", "transformers") if name != library)
    names = ", ".join(name for name in others if not _violations(name, settings))
    return f"export to {names} or onnx instead" if names else "export to onnx instead"


def _violations(library: str, settings: ModelSettings) -> list[str]:
    return [key for key, value in FIXED[library].items() if getattr(settings, key) != value]


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return str(value).lower() if isinstance(value, bool) else str(value)
