"""How much arithmetic a model takes, in closed form.

Counted are the multiplications and additions of matrix products, two operations for each pair
of numbers; LayerNorm, softmax, GELU and the optimizer are left out.
"""

from benchmarks.workload import NUM_CLASSES, Workload


def operations(work: Workload, whole_last_block: bool) -> int:
    """Operations that one batch takes: a forward pass, in training a backward pass too.

    A backward pass has two products for each one of the forward pass (the gradients of both
    factors), but one for the patch embedding, as nobody asks for the gradient of the images.

    Args:
      work: the model, the batch and the task.
      whole_last_block: whether the last block is computed for all tokens, as most ViTs do. Ours
        computes queries, keys and values of all its tokens, and the rest for the class token.
    """
    d, m, t, layers = work.hidden_size, work.mlp_dim, work.num_tokens, work.num_layers
    embedding = work.num_patches * work.patch_size**2 * d
    last = _block(t, t if whole_last_block else 1, d, m)
    rest = (layers - 1) * _block(t, t, d, m) + last + d * NUM_CLASSES
    passes = 2 * embedding + 3 * rest if work.task == "train" else embedding + rest
    return 2 * work.batch_size * passes


def _block(tokens: int, kept: int, d: int, m: int) -> int:
    """Multiplications of one image in one block, of which `kept` tokens are read afterwards."""
    queries_keys_values = tokens * d * 3 * d
    scores_and_mixture = 2 * kept * tokens * d
    out = kept * d * d
    feed_forward = 2 * kept * d * m
    return queries_keys_values + scores_and_mixture + out + feed_forward
