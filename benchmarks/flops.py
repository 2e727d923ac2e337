"""FLOPs of a model, in closed form.

Counted are matrix products, with two FLOPs (a multiplication and an addition) for each pair of
elements; LayerNorm, softmax, GELU and the optimizer are not counted.
"""

from benchmarks.workload import Workload


def flops_per_batch(work: Workload, whole_last_block: bool) -> int:
    """Return the FLOPs of one batch: a forward pass, and in training a backward pass.

    The backward pass has two products for each product of the forward pass (the gradients of both
    factors), but one for the patch embedding, since the images need no gradient.

    Args:
      work: the model, the batch and the task.
      whole_last_block: whether the last block is computed for all tokens, as in most ViTs. Ours
        computes only what the class token needs; see vit_hk/model/class_token_attention.py.
    """
    embedding = work.num_patches * work.patch_size**2 * work.channels * work.hidden_size
    last = _block(work) if whole_last_block else _class_token_block(work)
    rest = (work.num_layers - 1) * _block(work) + last + work.hidden_size * work.num_classes
    multiplications = 2 * embedding + 3 * rest if work.task == "train" else embedding + rest
    return 2 * work.batch_size * multiplications


def _block(work: Workload) -> int:
    """Return the multiplications of one block for one image."""
    t, d = work.num_tokens, work.hidden_size
    linear_layers = t * (4 * d * d + 2 * d * work.mlp_dim)
    attention = 2 * t * t * d  # query-key products, and attention weights times values
    return linear_layers + attention


def _class_token_block(work: Workload) -> int:
    """Return the multiplications of a block of which only the class token is computed.

    Each head applies its attention weights to whole tokens instead of value vectors.
    """
    d = work.hidden_size
    linear_layers = 4 * d * d + 2 * d * work.mlp_dim
    attention = 2 * work.num_heads * work.num_tokens * d
    return linear_layers + attention
