"""Bytes that a model reads and writes, in closed form, to compare with the memory's bandwidth.

Counted are the factors and the result of each matrix product, once each, and in training what the
optimizer reads and writes. Attention is counted as one operation that keeps its weights on the
chip. LayerNorm, GELU and residual connections are not counted, as if they were always fused.
"""

from benchmarks.workload import Workload

BYTES = {"float32": 4, "bfloat16": 2}
FLOAT32 = 4
# AdamW reads parameters, gradients and two moments, and writes all but the gradients.
OPTIMIZER_ARRAYS = 7


def bytes_per_batch(work: Workload, num_parameters: int, whole_last_block: bool = True) -> int:
    """Return the bytes of one batch: a forward pass, and in training a backward pass and AdamW.

    The backward pass has two products for each product of the forward pass, of arrays of the same
    sizes, and one for that of the images, which need no gradient.

    Args:
      work: the model, the batch and the task.
      num_parameters: all learned parameters.
      whole_last_block: False where only the class token of the last block is computed: of that
        block then only its input is counted.
    """
    d, m, tokens = work.hidden_size, work.mlp_dim, work.num_tokens
    patch = work.patch_size**2 * work.channels
    # Inputs and outputs, per token, of the linear layers qkv, out, in and out, and of attention.
    block = (d + 3 * d) + (d + d) + (d + m) + (m + d) + (3 * d + d)
    last_block = block if whole_last_block else d
    patches = work.batch_size * work.num_patches * (patch + d)
    blocks = work.batch_size * tokens * ((work.num_layers - 1) * block + last_block)
    size = BYTES[work.precision]
    if work.task == "infer":
        return size * (patches + blocks + num_parameters)
    optimizer = OPTIMIZER_ARRAYS * FLOAT32 * num_parameters
    return size * (2 * patches + 3 * blocks + 3 * num_parameters) + optimizer
