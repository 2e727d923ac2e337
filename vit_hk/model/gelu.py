"""GELU with the error function, as in torch.nn.GELU and its definition (arXiv 1606.08415)."""

import jax

from vit_hk.kernels import gelu as kernel
from vit_hk.kernels.compiler import is_supported


def gelu(x: jax.Array) -> jax.Array:
    """Apply GELU to each element of x [..., M]."""
    width = x.shape[-1]
    if is_supported(x, width):
        return kernel.gelu(x.reshape(-1, width)).reshape(x.shape)
    # jax.nn.gelu uses erfc, which with its gradient takes XLA's CPU backend twice as long.
    return 0.5 * x * (1 + jax.lax.erf(x * 0.5**0.5))
