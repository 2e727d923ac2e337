"""Mixed precision: bfloat16 in matrix products and around them, else float32 (arXiv 1710.03740).

The modules in `POLICIES`, apart from LayerNorm, read float32 parameters, round them and their
inputs to bfloat16, and return float32. LayerNorm computes in float32, also inside of those modules.
So parameters, residual connections, LayerNorm and the softmax stay float32, and so does the head,
whose product is small and whose logits the loss reads. bfloat16 has the range of float32, so the
loss is not scaled.
"""

import contextlib
from collections.abc import Iterator

import haiku as hk
import jmp

from vit_hk.model.attention import SelfAttention
from vit_hk.model.block import MLP
from vit_hk.model.layer_norm import LayerNorm
from vit_hk.model.patches import PatchEmbedding
from vit_hk.params import Precision

BFLOAT16_PRODUCTS = jmp.get_policy("params=float32,compute=bfloat16,output=float32")
POLICIES = {
    PatchEmbedding: BFLOAT16_PRODUCTS,
    SelfAttention: BFLOAT16_PRODUCTS,
    MLP: BFLOAT16_PRODUCTS,
    LayerNorm: jmp.get_policy("float32"),  # also those inside of the modules above
}


@contextlib.contextmanager
def computing_in(precision: Precision) -> Iterator[None]:
    """Compute the matrix products of what is traced inside the block in this precision."""
    with contextlib.ExitStack() as policies:
        if precision == "bfloat16":
            for module, policy in POLICIES.items():
                policies.enter_context(hk.mixed_precision.push_policy(module, policy))
        yield
