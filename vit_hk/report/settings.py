"""The settings of a run beside those that the project is shipped with."""

from pathlib import Path
from typing import Any, NamedTuple

from vit_hk.params import Params, load_params

SHIPPED = Path(__file__).with_name("shipped_params.yaml")  # a test holds it equal to params.yaml
# Where files lie and what to do without a network changes no result; the page names the source.
NOT_SHOWN = ("data.root", "data.offline")


class Setting(NamedTuple):
    """A knob, its value in this run, and the one it is shipped with."""

    key: str
    value: str
    shipped: str

    @property
    def changed(self) -> bool:
        """Whether the run differs from what is shipped."""
        return self.value != self.shipped


def compare_with_shipped(params: Params) -> list[Setting]:
    """All settings that bear on results, in the order of params.yaml."""
    shipped = _leaves(load_params(SHIPPED).model_dump())
    return [
        Setting(key, _write(value), _write(shipped[key]))
        for key, value in _leaves(params.model_dump()).items()
        if key not in NOT_SHOWN
    ]


def _leaves(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            leaves |= _leaves(value, f"{prefix}{name}.")
        else:
            leaves[prefix + name] = value
    return leaves


def _write(value: Any) -> str:
    """As params.yaml has it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
