"""GELU (arXiv 1606.08415): with the error function, or its approximation with tanh."""

import jax
import jax.numpy as jnp

from vit_hk.kernels import gelu as kernel
from vit_hk.kernels.compiler import is_supported
from vit_hk.params import Gelu


def gelu(x: jax.Array, kind: Gelu) -> jax.Array:
    """Apply GELU to each element of x [..., M].

    Args:
      x: [..., M].
      kind: "erf" is the definition, x times the normal distribution function of x, as in
        torch.nn.GELU; "tanh" is the paper's approximation of it, which no kernel supports.
    """
    if kind == "tanh":
        return jax.nn.gelu(x, approximate=True)
    width = x.shape[-1]
    if is_supported(x):
        return kernel.gelu(x.reshape(-1, width)).reshape(x.shape)
    # 1 + erf, which is small for negative x, would lose its digits in bfloat16.
    exact = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    # jax.nn.gelu uses erfc, which with its gradient takes XLA's CPU backend twice as long.
    return (0.5 * exact * (1 + jax.lax.erf(exact * 0.5**0.5))).astype(x.dtype)
