"""`make scaling` measures a training step as one thing grows, and at sizes of partial SIMD vectors.

Writes benchmarks/results/scaling.json and scaling.png.
"""

import dataclasses
import json
import statistics
from pathlib import Path
from typing import Any

from benchmarks.flops import flops_per_batch
from benchmarks.machine import describe_machine, warn_if_disturbed
from benchmarks.process import DISTURBANCE_THRESHOLD, running_processes
from benchmarks.scaling_figure import draw_scaling
from benchmarks.workload import SIZES, Workload
from vit_hk.atomic import replacing
from vit_hk.figures.saving import save_figure

RESULTS = Path("benchmarks/results")
ROUNDS = 5
ROUND_SECONDS = 0.4
BASE = Workload("train", 128, **SIZES["S"])


def sweeps() -> dict[str, list[tuple[int, Workload]]]:
    """Return the values and workloads of each sweep; all other settings are those of BASE."""
    wide = [_wide(width) for width in (16, 32, 64, 128, 256)]
    uneven = [_wide(width) for width in (60, 64, 72, 96, 100, 104, 112, 128)]
    large = [dataclasses.replace(BASE, image_size=side) for side in (14, 28, 56, 84, 112)]
    return {
        "batch size": _vary("batch_size", (8, 16, 32, 64, 128, 256, 512)),
        "hidden size": [(work.hidden_size, work) for work in wide],
        "layers": _vary("num_layers", (1, 2, 4, 8, 16, 32)),
        "tokens": [(work.num_tokens, work) for work in large],
        "heads": _vary("num_heads", (1, 2, 4, 8, 16)),
        "uneven hidden size": [(work.hidden_size, work) for work in uneven],
        "width of the MLP": _vary("mlp_dim", (100, 128, 130)),
        "patch size": _vary("patch_size", (4, 7, 14)),
    }


def _wide(hidden_size: int) -> Workload:
    """Return BASE with this hidden size, and an MLP that is twice as wide."""
    return dataclasses.replace(BASE, hidden_size=hidden_size, mlp_dim=2 * hidden_size)


def _vary(field: str, values: tuple[int, ...]) -> list[tuple[int, Workload]]:
    """Return BASE with each of the values of one field."""
    return [(value, dataclasses.replace(BASE, **{field: value})) for value in values]


def main() -> None:
    """Measure each point of each sweep in a separate process."""
    points = []
    for name, sweep in sweeps().items():
        for value, work in sweep:
            points.append({"sweep": name, "value": value} | measure(work))
            print(
                "{sweep} {value}: {images_per_second:,.0f} images/s, {milliseconds:,.1f} ms, "
                "{working_mib:,} MiB, compiled in {compile_seconds:.1f} s".format(**points[-1]),
                flush=True,
            )
    report = {"machine": describe_machine(), "base": dataclasses.asdict(BASE), "points": points}
    with replacing(RESULTS / "scaling.json") as temporary:
        temporary.write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    save_figure(draw_scaling(report), RESULTS / "scaling.png")


def measure(work: Workload) -> dict[str, Any]:
    """Return the medians of one point over all rounds."""
    with running_processes(["ours"], work, ROUND_SECONDS) as (process,):
        for _ in range(ROUNDS):
            process.run_round()
    warn_if_disturbed(process.disturbances, DISTURBANCE_THRESHOLD)
    seconds = statistics.median(process.seconds)
    return {
        "images_per_second": round(work.batch_size / seconds, 1),
        "milliseconds": round(1000 * seconds, 3),
        "flops_per_step": flops_per_batch(work, whole_last_block=False),
        "working_mib": round(process.working_bytes / 2**20),
        "compile_peak_mib": round(process.facts["compile_peak_bytes"] / 2**20),
        "compile_seconds": round(process.facts["compile_seconds"], 1),
    }


if __name__ == "__main__":
    main()
