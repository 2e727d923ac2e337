"""What is measured on a GPU, the most valuable first."""

import dataclasses
import itertools
import sys
from typing import Any

from benchmarks.workload import SIZES, Workload

VIT_B_16 = {
    "patch_size": 16, "hidden_size": 768, "num_layers": 12, "mlp_dim": 3072, "num_heads": 12,
    "image_size": 224, "channels": 3, "num_classes": 1000,
}  # fmt: skip
# Large enough to fill an H100.
BATCH_SIZES = {
    "B/16": {"train": 128, "infer": 256},
    "M": {"train": 1024, "infer": 4096},
    "S": {"train": 1024, "infer": 4096},
}
COMPILED, CUDA_GRAPHS = "timm, torch.compile", "timm, torch.compile, CUDA graphs"
# A step of B/16 takes longer than starting its operations, so that graphs of them gain nothing.
CONTENDERS = {
    "B/16": ("ours", COMPILED),
    "M": ("ours", COMPILED, CUDA_GRAPHS),
    "S": ("ours", COMPILED, CUDA_GRAPHS),
}
MODEL_TESTS = tuple(
    f"tests/model/test_{name}.py"
    for name in (
        "model_against_torch", "vit", "reference", "class_token_attention",
        "attention_offset", "layer_norm", "linear", "matmul", "encoder",
    )
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Cell:
    """A workload, and the contenders that are measured at it in turns, ours first."""

    size: str
    work: Workload
    contenders: tuple[str, ...]

    def __str__(self) -> str:
        """Name the cell in one line."""
        task = {"train": "training", "infer": "inference"}[self.work.task]
        return f"{self.size}, {task}, {self.work.precision}, batch {self.work.batch_size}"


@dataclasses.dataclass(frozen=True)
class Plan:
    """All that one run does.

    Attributes:
      platform: "gpu", or "cpu" to try the benchmark where there is none.
      checked: the models whose logits and gradients are compared with those of the CPU, by size;
        the batch size is that of the comparison.
      tests: files of tests that run on the GPU, the most valuable first.
      test_seconds: seconds after which no further test starts.
      cells: what is timed, the most valuable first.
      max_epochs: epochs after which the training to 99 % ends, if its recipe has more.
      rounds: rounds of a cell, in each of which the contenders take turns.
      round_seconds: approximate duration of a contender's turn.
      max_step_seconds: seconds after which a step is given up, so that others have time.
      budget: seconds after which no further step starts, and an unfinished one is given up.
    """

    platform: str
    checked: dict[str, Workload]
    tests: tuple[str, ...]
    test_seconds: float
    cells: tuple[Cell, ...]
    max_epochs: int
    rounds: int
    round_seconds: float
    max_step_seconds: float
    budget: float


def full_plan(budget: float) -> Plan:
    """Return the plan of `make bench-gpu`."""
    sizes = {"B/16": VIT_B_16, **{size: SIZES[size] for size in ("M", "S")}}
    return Plan(
        platform="gpu",
        checked={
            # Three layers compile in a quarter of the time.
            "B/16 with 3 layers": Workload("infer", 4, **{**VIT_B_16, "num_layers": 3}),
            **{size: Workload("infer", 64, **SIZES[size]) for size in ("M", "S")},
        },
        tests=MODEL_TESTS,
        test_seconds=75.0,
        cells=make_cells(sizes, BATCH_SIZES, CONTENDERS),
        max_epochs=sys.maxsize,
        rounds=5,
        round_seconds=0.3,
        max_step_seconds=240.0,  # XLA may need three minutes for the training of B/16
        budget=budget,
    )


def quick_plan(platform: str, budget: float) -> Plan:
    """Return a plan of a tiny model that shows whether all parts work, also on a CPU."""
    tiny = {"patch_size": 14, "hidden_size": 16, "num_layers": 2, "mlp_dim": 32, "num_heads": 2}
    return Plan(
        platform=platform,
        checked={"tiny": Workload("infer", 8, **tiny)},
        tests=("tests/model/test_patches.py",),
        test_seconds=75.0,
        cells=make_cells(
            {"tiny": tiny}, {"tiny": {"train": 32, "infer": 32}}, {"tiny": ("ours", COMPILED)}
        ),
        max_epochs=1,
        rounds=2,
        round_seconds=0.05,
        max_step_seconds=budget,
        budget=budget,
    )


def make_cells(
    sizes: dict[str, dict[str, Any]],
    batch_sizes: dict[str, dict[str, int]],
    contenders: dict[str, tuple[str, ...]],
) -> tuple[Cell, ...]:
    """Return a cell for each precision, size and task, in this order of importance."""
    return tuple(
        Cell(
            size,
            Workload(task, batch_sizes[size][task], **settings, precision=precision),
            contenders[size],
        )
        for precision, (size, settings), task in itertools.product(
            ("bfloat16", "float32"), sizes.items(), ("train", "infer")
        )
    )
