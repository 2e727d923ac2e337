"""Layer-wise decay of the learning rate: early layers change less than late ones."""

import haiku as hk
import jax
import numpy as np
import optax

from vit_hk.training.freezing import part_of


def scale_by_layer(
    params: hk.Params, decay: float, num_layers: int
) -> optax.GradientTransformation:
    """Scale updates float32 [num_params] by the factor of each parameter's layer.

    Args:
      params: the trained parameters, in whose order `ravel_pytree` makes a vector of them.
      decay: the learning rate of a layer as a share of that of the layer after it, in (0, 1].
      num_layers: L.
    """
    factors = np.concatenate(
        [
            np.full(leaf.size, layer_factor(_part_at(path), decay, num_layers), np.float32)
            for path, leaf in jax.tree_util.tree_leaves_with_path(params)
        ]
    )
    return optax.stateless(lambda updates, _: factors * updates)


def layer_factor(part: str, decay: float, num_layers: int) -> float:
    """Return the factor of the learning rate of one part, decay^(L + 1 - depth).

    It is that of BEiT (arXiv 2106.08254, appendix) as timm computes it: patches, positions and
    other tokens have depth 0, block i has depth i + 1, and the head has depth L + 1. The last
    LayerNorm belongs to the last block.

    >>> [layer_factor(part, 0.5, 2) for part in ("patches", "block_0", "block_1", "norm", "head")]
    [0.125, 0.25, 0.5, 0.5, 1.0]
    """
    if part.startswith("block_"):
        depth = int(part.removeprefix("block_")) + 1
    else:
        depth = {"norm": num_layers, "head": num_layers + 1}.get(part, 0)
    return decay ** (num_layers + 1 - depth)


def _part_at(path: tuple[jax.tree_util.DictKey, jax.tree_util.DictKey]) -> str:
    module, name = path
    return part_of(module.key, name.key)
