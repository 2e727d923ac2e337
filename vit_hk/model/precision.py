"""Matrix products in bfloat16, all else in float32 (arXiv 1710.03740, with jmp's policies).

The modules named here read float32 parameters, round them and their inputs to bfloat16, and
give float32 back: so parameters, residuals, LayerNorm and its statistics, the softmax and the
head, whose product is small and whose logits the loss reads, stay float32. bfloat16 has the
range of float32, so no loss has to be scaled.
"""

import contextlib
from collections.abc import Iterator

import haiku as hk
import jmp

from vit_hk.model.attention import SelfAttention
from vit_hk.model.encoder import FeedForward
from vit_hk.model.normalization import LayerNorm
from vit_hk.model.patches import PatchEmbedding
from vit_hk.params import Precision

PRODUCTS = jmp.get_policy("params=float32,compute=bfloat16,output=float32")
POLICIES = {
    PatchEmbedding: PRODUCTS,
    SelfAttention: PRODUCTS,
    FeedForward: PRODUCTS,
    LayerNorm: jmp.get_policy("float32"),  # also those of queries and keys, inside SelfAttention
}


@contextlib.contextmanager
def computing_in(precision: Precision) -> Iterator[None]:
    """What is traced inside has its matrix products in this precision."""
    with contextlib.ExitStack() as policies:
        if precision == "bfloat16":
            for module, policy in POLICIES.items():
                policies.enter_context(hk.mixed_precision.push_policy(module, policy))
        yield
