"""The split of a model's parameters into those that are trained and those that are frozen."""

from collections.abc import Collection

import haiku as hk


def split_frozen(params: hk.Params, freeze: Collection[str]) -> tuple[hk.Params, hk.Params]:
    """Split parameters into those that are trained and those that are frozen.

    Args:
      params: the parameters of a model, or their shapes.
      freeze: names of the parts to freeze; see `ModelSettings.parts`.

    Returns:
      The trained and the frozen parameters; `merge_frozen` is the inverse.
    """
    frozen, trained = hk.data_structures.partition(
        lambda module, name, _: part_of(module, name) in freeze, params
    )
    return trained, frozen


def merge_frozen(trained: hk.Params, frozen: hk.Params) -> hk.Params:
    """Return all parameters of a model, from those that are trained and those that are frozen."""
    return hk.data_structures.merge(trained, frozen)


def part_of(module: str, name: str) -> str:
    """Return the part of the model that a parameter belongs to; see `ModelSettings.parts`.

    >>> part_of("vit/block_0/mlp/in", "w"), part_of("vit", "position")
    ('block_0', 'position')
    """
    return f"{module}/{name}".split("/")[1]
