"""Muon for blocks and hybrid stems, NAdam for all other parameters, over one flat vector.

Muon (Jordan et al., 2024, https://kellerjordan.github.io/posts/muon) replaces the momentum of a
matrix by about the nearest one with orthogonal rows or columns. That takes more arithmetic than all
else that an optimizer does, so each device does a part of it. One compiled loop handles all
matrices of a shape, since a loop for each matrix would take longer to compile.
"""

import math
from collections import defaultdict
from collections.abc import Callable
from typing import NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from vit_hk.runtime.batch_layout import AXIS
from vit_hk.training.freezing import part_of

MOMENTUM = 0.95
# A root mean square of 0.2, as Adam's updates have, so that both use the same learning rate
# (arXiv 2502.16982, equation 4).
UPDATE_RMS = 0.2
NEWTON_SCHULZ_STEPS = 5
# Chosen by Jordan et al. for a steep polynomial at 0: small singular values grow fast, and all end
# between 0.7 and 1.2.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)


class MuonState(NamedTuple):
    """The momentum of the matrices, and the state of NAdam for the other parameters."""

    momentum: hk.Params
    others: optax.OptState


def scale_by_muon(
    unravel: Callable[[jax.Array], hk.Params], num_devices: int
) -> optax.GradientTransformation:
    """Build a transformation that maps gradients float32 [num_params] to directions of ascent.

    The queries, keys and values of a block count as one matrix [D, 3 * D], and the kernels of a
    convolution of a hybrid stem as one [9 * input channels, output channels], as they are stored.

    Args:
      unravel: maps the vector to the trained parameters.
      num_devices: number of devices of the mesh; with several, it is called in jax.shard_map.
    """
    nadam = optax.scale_by_adam(nesterov=True)

    def init(flat: jax.Array) -> MuonState:
        matrices, others = _split(unravel(flat))
        return MuonState(jax.tree.map(jnp.zeros_like, matrices), nadam.init(_vector(others)))

    def update(
        flat: jax.Array, state: MuonState, params: jax.Array | None = None
    ) -> tuple[jax.Array, MuonState]:
        del params
        matrices, others = _split(unravel(flat))
        momentum = jax.tree.map(_add_momentum, matrices, state.momentum)
        with_nesterov = jax.tree.map(_add_momentum, matrices, momentum)
        gradient, unravel_others = ravel_pytree(others)
        direction, others_state = nadam.update(gradient, state.others)
        directions = hk.data_structures.merge(
            orthogonalize(with_nesterov, num_devices), unravel_others(direction)
        )
        return _vector(directions), MuonState(momentum, others_state)

    return optax.GradientTransformation(init, update)


def orthogonalize(matrices: hk.Params, num_devices: int) -> hk.Params:
    """Return matrices with about the same singular vectors, and singular values that are alike.

    Args:
      matrices: float32 [m, n] each.
      num_devices: number of devices of the mesh, which share the work.

    Returns:
      Matrices of the same shapes with a root mean square of about `UPDATE_RMS`.
    """
    leaves, tree = jax.tree.flatten(matrices)
    same_shape = defaultdict(list)
    for index, leaf in enumerate(leaves):
        same_shape[min(leaf.shape), max(leaf.shape)].append(index)
    stacks = [
        jnp.stack([_transpose_if_tall(leaves[index]) for index in indices])
        for indices in same_shape.values()
    ]
    for indices, stack in zip(same_shape.values(), _map_stacks(stacks, num_devices), strict=True):
        for index, result in zip(indices, stack, strict=True):
            scaled = UPDATE_RMS * math.sqrt(max(result.shape)) * result
            leaves[index] = scaled if leaves[index].shape == scaled.shape else scaled.T
    return jax.tree.unflatten(tree, leaves)


def newton_schulz(matrix: jax.Array) -> jax.Array:
    """Bring the singular values of a matrix float32 [m, n], m <= n, to between 0.7 and 1.2."""
    a, b, c = COEFFICIENTS

    def step(_: int, x: jax.Array) -> jax.Array:
        gram = x @ x.T  # [m, m]
        return a * x + (b * gram + c * gram @ gram) @ x

    matrix /= jnp.linalg.norm(matrix) + 1e-8  # the norm of a matrix of zeros is 0
    # A loop, since the unrolled code takes longer to compile and, on a CPU, to run.
    return jax.lax.fori_loop(0, NEWTON_SCHULZ_STEPS, step, matrix)


def _map_stacks(stacks: list[jax.Array], num_devices: int) -> list[jax.Array]:
    """Apply `newton_schulz` to the matrices of each stack [k, m, n], a shard on each device."""
    if num_devices == 1 or not stacks:  # there are none where all these are frozen
        return [jax.lax.map(newton_schulz, stack) for stack in stacks]
    shards = [jax.lax.map(newton_schulz, _own_shard(stack, num_devices)) for stack in stacks]
    # All shards as one vector, since each collective operation costs a rendezvous of the devices.
    vector, unravel = ravel_pytree(shards)
    # Of each stack [num_devices, matrices of a shard, m, n].
    gathered = jax.vmap(unravel)(jax.lax.all_gather(vector, AXIS))
    return [
        results.reshape(-1, *stack.shape[1:])[: len(stack)]
        for results, stack in zip(gathered, stacks, strict=True)
    ]


def _own_shard(stack: jax.Array, num_devices: int) -> jax.Array:
    """Return this device's shard of the matrices [k, m, n], the last of which may be zeros."""
    padded = jnp.pad(stack, ((0, -len(stack) % num_devices), (0, 0), (0, 0)))
    size = len(padded) // num_devices
    return jax.lax.dynamic_slice_in_dim(padded, jax.lax.axis_index(AXIS) * size, size)


def _split(params: hk.Params) -> tuple[hk.Params, hk.Params]:
    """Return the matrices of the blocks and of a hybrid stem's convolutions, and all others.

    The convolutions of other stems count as patch embedding.
    """
    is_hybrid = "vit/patches/norm_0" in params

    def is_trained_by_muon(module: str, name: str, _: jax.Array) -> bool:
        in_stem = is_hybrid and module.startswith("vit/patches/conv_")
        return name == "w" and (in_stem or part_of(module, name).startswith("block_"))

    return hk.data_structures.partition(is_trained_by_muon, params)


def _add_momentum(gradient: jax.Array, momentum: jax.Array) -> jax.Array:
    return MOMENTUM * momentum + gradient


def _transpose_if_tall(matrix: jax.Array) -> jax.Array:
    rows, columns = matrix.shape
    return matrix.T if rows > columns else matrix


def _vector(params: hk.Params) -> jax.Array:
    return ravel_pytree(params)[0]
