"""How fast the machine multiplies large float32 matrices: the roof of what a model can reach."""

import os

import numpy as np

from benchmarks.contenders import Job
from benchmarks.workload import Workload

WIDTH = 2048
OPERATIONS = 2 * WIDTH**3


def make_jax(_: Workload) -> Job:
    """One product a call, through XLA."""
    import jax

    a, b = map(jax.device_put, _matrices())
    product = jax.jit(lambda a, b: a @ b)

    def run(count: int) -> None:
        for _ in range(count):
            product(a, b).block_until_ready()

    return Job(run, 0)


def make_torch(_: Workload) -> Job:
    """One product a call, through PyTorch."""
    import torch

    torch.set_num_threads(os.cpu_count() or 1)
    a, b = map(torch.from_numpy, _matrices())

    def run(count: int) -> None:
        for _ in range(count):
            torch.mm(a, b)

    return Job(run, 0)


def _matrices() -> tuple[np.ndarray, np.ndarray]:
    a, b = np.random.default_rng(0).standard_normal((2, WIDTH, WIDTH), np.float32)
    return a, b
