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
        computes there what the class token needs, in the order of vit_hk/model/first_token.py.
    """
    embedding = work.num_patches * work.patch_size**2 * work.hidden_size
    last = _block(work) if whole_last_block else _block_of_first_token(work)
    rest = (work.num_layers - 1) * _block(work) + last + work.hidden_size * NUM_CLASSES
    passes = 2 * embedding + 3 * rest if work.task == "train" else embedding + rest
    return 2 * work.batch_size * passes


def _block(work: Workload) -> int:
    """Multiplications of one image in one block."""
    t, d = work.num_tokens, work.hidden_size
    linear_layers = t * (4 * d * d + 2 * d * work.mlp_dim)
    scores_and_mixture = 2 * t * t * d
    return linear_layers + scores_and_mixture


def _block_of_first_token(work: Workload) -> int:
    """The same where only the first token is read: each head mixes whole tokens."""
    d = work.hidden_size
    linear_layers = 4 * d * d + 2 * d * work.mlp_dim
    scores_and_mixture = 2 * work.num_heads * work.num_tokens * d
    return linear_layers + scores_and_mixture
