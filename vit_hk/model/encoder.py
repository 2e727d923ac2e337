"""The L encoder blocks, unrolled or as a loop over one compiled block.

Both ways have the same parameters under the same names, block_0, block_1, …, and draw the same
random numbers, so weights trained one way can be used the other way.
"""

import functools
import re
from collections.abc import Callable
from typing import NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp

from vit_hk.model.block import Block
from vit_hk.model.random_keys import ImageKeys, derive
from vit_hk.params import ModelSettings


class BlockInputs(NamedTuple):
    """The inputs that differ from block to block, each with a leading axis L; None if unused."""

    drop_path: jax.Array | None  # float32 [L], the rates
    keys: ImageKeys  # [L, B], JAX random keys
    attention_offset: jax.Array | None  # [L, B, H, T, T], added to the attention weights

    def at(self, blocks: int | slice) -> "BlockInputs":
        """Return the inputs of one block, without the axis L, or of a range of blocks."""
        return jax.tree.map(lambda all_blocks: all_blocks[blocks], self)


TokensAndWeights = tuple[jax.Array, jax.Array]
# A function of the attention weights of a layer, [B, H, query T, key T].
AttentionSelection = Callable[[jax.Array], jax.Array]


def run_blocks(
    settings: ModelSettings,
    x: jax.Array,
    num_tokens: int,
    keys: ImageKeys,
    attention_offset: jax.Array | None,
    select_attention: AttentionSelection | None,
    scan_layers: bool,
    remat: bool,
) -> TokensAndWeights:
    """Apply all blocks; their parameters become part of the module that calls this function.

    Args:
      settings: the architecture. The rate of drop path rises linearly from 0 in the first block to
        `drop_path` in the last, so that a single block has none, as in timm; in the paper
        (arXiv 1603.09382) it starts at `drop_path` / L.
      x: [B * T, D].
      num_tokens: T.
      keys: [B], a random key for each image, for dropout and drop path; None in inference.
      attention_offset: [L, B, H, T, T], added to the attention weights.
      select_attention: returns what is read of a layer's attention weights; None: all of them.
      scan_layers: loop over one compiled block. It saves compile time from some 24 blocks on, of
        a training step about half with 48 blocks.
      remat: keep only the tokens between blocks for the gradient, and recompute the rest
        (arXiv 1604.06174), with pool "cls" not in the last block. It implies scan_layers: of
        unrolled blocks XLA's CPU backend would merge both computations and keep the results.

    Returns:
      Tokens [B * T, D], or with pool "cls" the class tokens [B, D], and the attention weights
      [L, B, H, T, T], or what is selected of them.
    """
    run = functools.partial(_run_block, settings, num_tokens, select_attention)
    inputs = _block_inputs(settings, keys, attention_offset)
    num_layers = settings.num_layers
    class_token_only = settings.pool == "cls"  # no other token of the last block is read
    attention = []
    # Parameters are initialized without a loop in either case, so that both draw the same ones.
    num_scanned = 0 if hk.running_init() else count_scanned_layers(settings, scan_layers, remat)
    if num_scanned:
        x, weights = _scan_blocks(run, x, inputs.at(slice(num_scanned)), num_scanned, remat)
        attention.append(weights)
    for index in range(num_scanned, num_layers):
        is_last = index == num_layers - 1
        x, weights = run(f"block_{index}", x, inputs.at(index), class_token_only and is_last)
        attention.append(weights[jnp.newaxis])
    return x, jnp.concatenate(attention)


def count_scanned_layers(settings: ModelSettings, scan_layers: bool, remat: bool) -> int:
    """Return how many of the first layers are one loop over a block; see `run_blocks`."""
    if not (scan_layers or remat):
        return 0
    # With pool "cls" the last block differs: it computes the class token only.
    return settings.num_layers - (settings.pool == "cls")


def _block_inputs(
    settings: ModelSettings, keys: ImageKeys, attention_offset: jax.Array | None
) -> BlockInputs:
    """Return the inputs of all blocks; see `run_blocks`."""
    num_layers, drop_path = settings.num_layers, settings.drop_path
    if keys is not None:
        keys = jax.vmap(derive, (None, 0))(keys, jnp.arange(num_layers))
    return BlockInputs(
        drop_path=jnp.linspace(0.0, drop_path, num_layers) if drop_path else None,
        keys=keys,
        attention_offset=attention_offset,
    )


def _run_block(
    settings: ModelSettings,
    num_tokens: int,
    select_attention: AttentionSelection | None,
    name: str,
    x: jax.Array,
    inputs: BlockInputs,
    class_token_only: bool = False,
) -> TokensAndWeights:
    """Apply one block; see `Block`. Its inputs have no axis L."""
    s = settings
    rate = 0.0 if inputs.drop_path is None else inputs.drop_path
    block = Block(
        num_heads=s.num_heads, mlp_dim=s.mlp_dim, gelu=s.gelu, norm_eps=s.norm_eps,
        dropout=s.dropout, drop_path=rate, qk_norm=s.qk_norm, name=name,
    )  # fmt: skip
    x, weights = block(x, num_tokens, inputs.keys, inputs.attention_offset, class_token_only)
    return x, weights if select_attention is None else select_attention(weights)


def _scan_blocks(
    run: Callable[..., TokensAndWeights],
    x: jax.Array,
    inputs: BlockInputs,
    num_scanned: int,
    remat: bool,
) -> TokensAndWeights:
    """Apply the first `num_scanned` blocks as a loop over one block, compiled once."""
    stack = hk.layer_stack(
        num_scanned, with_per_layer_inputs=True, transparent=True,
        transparency_map=_ParameterNames(num_scanned),
    )  # fmt: skip
    run_scanned = functools.partial(run, "block")
    return stack(hk.remat(run_scanned) if remat else run_scanned)(x, inputs)


class _ParameterNames:
    """A map between the parameters of the first blocks and those of the block in the loop."""

    def __init__(self, num_scanned: int) -> None:
        self.num_scanned = num_scanned

    def stacked_to_flat(self, stacked_module_name: str, scan_idx: int) -> str:
        return stacked_module_name.replace("block", f"block_{scan_idx}", 1)

    def flat_to_stacked(self, unstacked_module_name: str) -> tuple[str, int] | None:
        found = re.match(r"block_(\d+)/", unstacked_module_name)
        if not found or int(found[1]) >= self.num_scanned:
            return None
        return unstacked_module_name.replace(found[0], "block/", 1), int(found[1])
