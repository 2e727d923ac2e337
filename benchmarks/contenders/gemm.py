"""A large float32 matrix product (GEMM): an upper bound of the FLOP/s that a model can reach."""

import numpy as np

from benchmarks.contenders import Job
from benchmarks.workload import Workload

SIZE = 2048  # rows and columns of each matrix
FLOPS = 2 * SIZE**3


def make_jax(_: Workload) -> Job:
    """Make a job that runs one GEMM per batch through XLA."""
    import jax

    a, b = map(jax.device_put, _matrices())
    product = jax.jit(lambda a, b: a @ b)

    def run(count: int) -> None:
        for _ in range(count):
            product(a, b).block_until_ready()

    return Job(run, 0)


def make_torch(_: Workload) -> Job:
    """Make a job that runs one GEMM per batch through PyTorch."""
    import torch

    torch.set_num_threads(torch.get_num_threads())  # so that MKL does not choose fewer
    a, b = map(torch.from_numpy, _matrices())

    def run(count: int) -> None:
        for _ in range(count):
            torch.mm(a, b)

    return Job(run, 0)


def _matrices() -> tuple[np.ndarray, np.ndarray]:
    a, b = np.random.default_rng(0).standard_normal((2, SIZE, SIZE), np.float32)
    return a, b
