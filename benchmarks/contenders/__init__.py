"""Who is measured. Each module has functions (Workload) -> Job; `CONTENDERS` lists them."""

import dataclasses
from collections.abc import Callable


@dataclasses.dataclass(frozen=True)
class Job:
    """A model, ready to work.

    Attributes:
      run: takes the number of batches, trains or infers on so many, and returns when it is done.
      num_parameters: how many numbers are learned; 0 for the bare matrix products.
      difference: in what the model differs from ours, if it does.
    """

    run: Callable[[int], None]
    num_parameters: int
    difference: str = ""


# Name -> (module beside this one, its function). Imported only by the process that runs it.
CONTENDERS = {
    "ours": ("ours", "make"),
    "timm": ("timm", "make"),
    "timm, torch.compile": ("timm", "make_compiled"),
    "vit-pytorch": ("vit_pytorch", "make"),
    "mnistvit": ("mnistvit", "make"),
    "Flax": ("flax", "make"),
}
MATRIX_PRODUCTS = {
    "jax": ("matrix_product", "make_jax"),
    "torch": ("matrix_product", "make_torch"),
}
