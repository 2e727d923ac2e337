"""The implementations that are measured; each module has functions from a Workload to a Job."""

import dataclasses
from collections.abc import Callable


@dataclasses.dataclass(frozen=True)
class Job:
    """A model that is ready to train or to infer.

    Attributes:
      run: function that trains or infers on a number of batches, and returns when it is done.
      num_parameters: number of learned parameters; 0 for a GEMM.
      difference: how the model differs from ours; empty if it does not.
    """

    run: Callable[[int], None]
    num_parameters: int
    difference: str = ""


# Name -> (module of this package, function). Only the process that runs a contender imports it.
CONTENDERS = {
    "ours": ("ours", "make"),
    "timm": ("timm", "make"),
    "timm, torch.compile": ("timm", "make_compiled"),
    "vit-pytorch": ("vit_pytorch", "make"),
    "mnistvit": ("mnistvit", "make"),
    "Flax": ("flax", "make"),
    "transformers": ("transformers", "make"),
}
GEMMS = {
    "jax": ("gemm", "make_jax"),
    "torch": ("gemm", "make_torch"),
}
