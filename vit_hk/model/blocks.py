"""The L blocks one after the other, written out or as a loop whose body is compiled once.

Both ways have the same parameters under the same names, block_0, block_1, …, and draw the same
random numbers, so that weights made one way serve the other.
"""

import contextlib
import functools
import re
from typing import NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp

from vit_hk.model.encoder import Block
from vit_hk.params import ModelSettings


class Inputs(NamedTuple):
    """What differs from block to block, for all blocks with L in front; None where it is off."""

    drop_path: jax.Array | None  # float32 [], the rate
    key: jax.Array | None  # of the random numbers
    offset: jax.Array | None  # [B, H, T, T], added to the attention weights

    def of(self, blocks: int | slice) -> "Inputs":
        """Those of one block, or of some."""
        return jax.tree.map(lambda all_blocks: all_blocks[blocks], self)


def run_blocks(
    settings: ModelSettings,
    x: jax.Array,
    tokens: int,
    is_training: bool,
    offset: jax.Array | None,
    scan_layers: bool,
    remat: bool,
) -> tuple[jax.Array, jax.Array]:
    """Apply all blocks, which become part of the module that calls this.

    Args:
      settings: the architecture.
      x: [B * T, D].
      tokens: T.
      is_training: whether dropout and drop path act.
      offset: [L, B, H, T, T], added to the attention weights.
      scan_layers: loop over one compiled block. Saves time to compile from some 24 blocks on, of a
        training step about half with 48; it grows with L still, but less.
      remat: keep only the tokens between blocks for the gradient, and compute the rest anew
        (arXiv 1604.06174). Implies scan_layers: of blocks written out, XLA's CPU backend sees that
        the same is computed twice, and keeps it after all.

    Returns:
      Tokens, [B * T, D] or with pool "cls" the class tokens [B, D], and the attention
      [L, B, H, T, T].
    """
    s, count = settings, settings.num_layers

    def run(name: str, x: jax.Array, inputs: Inputs, only_first: bool = False) -> _TokensAndWeights:
        rate = 0.0 if inputs.drop_path is None else inputs.drop_path
        block = Block(s.num_heads, s.mlp_dim, s.dropout, rate, s.qk_norm, name)
        with contextlib.nullcontext() if inputs.key is None else hk.with_rng(inputs.key):
            return block(x, tokens, is_training, inputs.offset, only_first)

    random = is_training and (s.dropout or s.drop_path)
    inputs = Inputs(
        drop_path=jnp.linspace(0.0, s.drop_path, count) if s.drop_path else None,
        key=jax.random.split(hk.next_rng_key(), count) if random else None,
        offset=offset,
    )
    only_first = s.pool == "cls"  # nobody reads another token of the last block
    attention = []
    # First weights are drawn block by block in either case: the same numbers.
    scan = (scan_layers or remat) and not hk.running_init()
    scanned = count - only_first if scan else 0
    if scanned:
        stack = hk.layer_stack(
            scanned, with_per_layer_inputs=True, transparent=True, transparency_map=_Names(scanned)
        )
        run_scanned = functools.partial(run, "block")
        stacked = stack(hk.remat(run_scanned) if remat else run_scanned)
        x, weights = stacked(x, inputs.of(slice(scanned)))
        attention.append(weights)
    for index in range(scanned, count):
        last = index == count - 1
        x, weights = run(f"block_{index}", x, inputs.of(index), only_first and last)
        attention.append(weights[jnp.newaxis])
    return x, jnp.concatenate(attention)


_TokensAndWeights = tuple[jax.Array, jax.Array]


class _Names:
    """Which parameters of the first blocks belong to the one block that is looped over."""

    def __init__(self, scanned: int) -> None:
        self.scanned = scanned

    def stacked_to_flat(self, stacked_module_name: str, scan_idx: int) -> str:
        return stacked_module_name.replace("block", f"block_{scan_idx}", 1)

    def flat_to_stacked(self, unstacked_module_name: str) -> tuple[str, int] | None:
        found = re.match(r"block_(\d+)/", unstacked_module_name)
        if not found or int(found[1]) >= self.scanned:
            return None
        return unstacked_module_name.replace(found[0], "block/", 1), int(found[1])
