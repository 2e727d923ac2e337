"""The settings of a run beside the default settings."""

from typing import Any, NamedTuple

from vit_hk.params import Config

# The location of raw files and the choice for a machine without a network do not change results;
# the page names the source of the data instead.
NOT_SHOWN = ("data.root", "data.offline")


class Setting(NamedTuple):
    """A key of params.yaml, its value in this run, and its default value."""

    key: str
    value: str
    default: str

    @property
    def changed(self) -> bool:
        """Whether the value differs from the default."""
        return self.value != self.default


def compare_with_defaults(config: Config, defaults: Config) -> list[Setting]:
    """List all settings that affect results, in the order of params.yaml."""
    default_values = flatten(defaults.model_dump())
    return [
        Setting(key, format_value(value), format_value(default_values[key]))
        for key, value in flatten(config.model_dump()).items()
        if key not in NOT_SHOWN
    ]


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the values of nested sections by their dotted keys."""
    values: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            values |= flatten(value, f"{prefix}{name}.")
        else:
            values[prefix + name] = value
    return values


def format_value(value: Any) -> str:
    """Write a value as YAML does."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)
