"""The limits of GPUs by their data sheets: dense matrix products, and memory bandwidth."""

from typing import NamedTuple

from vit_hk.params import Precision


class Chip(NamedTuple):
    """The limits of a GPU.

    Attributes:
      bfloat16: TFLOP/s of dense products of bfloat16; None where the chip has none in hardware.
      float32: TFLOP/s of dense products of float32, rounded to TF32 where the chip can.
      bandwidth: GB/s of the memory.
      source: NVIDIA's data sheet. Where it gives rates with sparsity, they are halved here.
    """

    bfloat16: float | None
    float32: float
    bandwidth: float
    source: str

    def tflops(self, precision: Precision) -> float | None:
        """Return the limit of matrix products in this precision, in TFLOP/s."""
        return self.bfloat16 if precision == "bfloat16" else self.float32


H100, H200, A100 = "H100 Tensor Core GPU", "H200 Tensor Core GPU", "A100 Tensor Core GPU"
# By the names that the driver gives them.
CHIPS = {
    "NVIDIA H200": Chip(989.5, 494.5, 4800, H200),
    "NVIDIA H200 NVL": Chip(835.5, 417.5, 4800, H200),
    "NVIDIA H100 80GB HBM3": Chip(989.5, 494.5, 3350, H100),
    "NVIDIA H100 NVL": Chip(835.5, 417.5, 3900, H100),
    "NVIDIA H100 PCIe": Chip(756, 378, 2000, H100),
    "NVIDIA A100-SXM4-80GB": Chip(312, 156, 2039, A100),
    "NVIDIA A100-SXM4-40GB": Chip(312, 156, 1555, A100),
    "NVIDIA A100 80GB PCIe": Chip(312, 156, 1935, A100),
    "NVIDIA A100-PCIE-40GB": Chip(312, 156, 1555, A100),
    "NVIDIA L40S": Chip(362, 183, 864, "L40S"),
    "NVIDIA L4": Chip(121, 60, 300, "L4 Tensor Core GPU"),
    "NVIDIA A10": Chip(125, 62.5, 600, "A10 Tensor Core GPU"),
    "Tesla T4": Chip(None, 8.1, 320, "T4"),
}


def find_chip(name: str) -> Chip | None:
    """Return the limits of a GPU, or None where they are not known."""
    return CHIPS.get(name)
