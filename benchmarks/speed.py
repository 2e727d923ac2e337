"""`make bench` measures the speed of training and inference, of ours and other implementations.

`make bench-224` does so with the models for images of 224 x 224 pixels. Both write a JSON file and
a figure into benchmarks/results, and print the tables of docs/performance.md.
"""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.contenders import GEMMS, gemm
from benchmarks.flops import flops_per_batch
from benchmarks.machine import describe_machine, warn_if_disturbed
from benchmarks.process import DISTURBANCE_THRESHOLD, Process, running_processes
from benchmarks.speed_figure import draw_speed, format_rate
from benchmarks.workload import (
    BATCH_SIZES,
    IMAGENET_BATCH_SIZES,
    IMAGENET_SIZES,
    SIZES,
    Workload,
)
from vit_hk.atomic import replacing
from vit_hk.figures.saving import save_figure

RESULTS = Path("benchmarks/results")
ROUND_SECONDS = 0.5  # of one contender; at least one batch
TORCH = ["timm", "timm, torch.compile", "vit-pytorch"]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Models and contenders that are measured together."""

    file_name: str  # of the results, without its ending
    sizes: dict[str, dict[str, int]]
    batch_sizes: dict[str, int]
    description: str  # of the sizes, for the figure
    contenders: list[str]
    rounds: int


COMPARISONS = {
    "28": Comparison(
        "speed", SIZES, BATCH_SIZES,
        "S: 6 layers, hidden size 64, 17 tokens; M: 6 layers, hidden size 128, 50 tokens",
        ["ours", *TORCH, "mnistvit", "Flax"], rounds=15,
    ),
    "224": Comparison(
        "speed_224", IMAGENET_SIZES, IMAGENET_BATCH_SIZES,
        "12 layers, 197 tokens, 1,000 classes; hidden size 192 (Ti/16) and 384 (S/16)",
        ["ours", *TORCH, "transformers"], rounds=5,
    ),
}  # fmt: skip


def main(image_size: str = "28") -> None:
    """Measure all sizes and tasks of a comparison, one after the other."""
    chosen = COMPARISONS[image_size]
    machine = describe_machine()
    print(f"{machine['processor']}, {machine['cores']} cores, {machine['vector_instructions']}")
    cases = []
    for size in chosen.sizes:
        for task, batch_size in chosen.batch_sizes.items():
            work = Workload(task, batch_size, **chosen.sizes[size])
            cases.append(measure(size, work, chosen.contenders, chosen.rounds))
            print(table(cases[-1]), flush=True)
    report = {
        "machine": machine, "rounds": chosen.rounds, "sizes": chosen.description, "cases": cases
    }  # fmt: skip
    with replacing(RESULTS / f"{chosen.file_name}.json") as temporary:
        temporary.write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    save_figure(draw_speed(report), RESULTS / f"{chosen.file_name}.png")


def measure(size: str, work: Workload, names: list[str], rounds: int) -> dict[str, Any]:
    """Measure contenders in interleaved rounds, and compare them."""
    gemms = GEMMS if work.task == "train" else {}
    with running_processes([*names, *gemms], work, ROUND_SECONDS) as processes:
        for _ in range(rounds):
            for process in processes:
                process.run_round()
    disturbances = [share for process in processes for share in process.disturbances]
    warn_if_disturbed(disturbances, DISTURBANCE_THRESHOLD)
    contenders = [process for process in processes if process.name in names]
    check_parameters(contenders)
    seconds = {process.name: np.array(process.seconds) for process in processes}
    medians = {name: float(np.median(values)) for name, values in seconds.items()}
    peer = min((name for name in names if name != "ours"), key=medians.__getitem__)
    return {
        "size": size,
        "task": work.task,
        "batch_size": work.batch_size,
        "fastest_peer": peer,
        "speedup_over_fastest_peer": quartiles(seconds[peer] / seconds["ours"], 3),
        "flops_per_image": {
            "ours": flops_per_batch(work, whole_last_block=False) // work.batch_size,
            "peers": flops_per_batch(work, whole_last_block=True) // work.batch_size,
        },
        **rates(work, medians["ours"], min((medians[name] for name in gemms), default=None)),
        "disturbed_rounds": sum(share >= DISTURBANCE_THRESHOLD for share in disturbances),
        "contenders": [summarize(process, work, seconds["ours"]) for process in contenders],
    }


def rates(work: Workload, seconds: float, gemm_seconds: float | None) -> dict[str, float]:
    """Return our rate in GFLOP/s and, where a GEMM was measured, its share of the GEMM peak."""
    gflops = flops_per_batch(work, whole_last_block=False) / seconds / 1e9
    if gemm_seconds is None:
        return {"gflops": round(gflops, 3)}
    gemm_gflops = gemm.FLOPS / gemm_seconds / 1e9
    return {
        "gflops": round(gflops, 3),
        "gemm_gflops": round(gemm_gflops, 3),
        "share_of_gemm_peak": round(gflops / gemm_gflops, 4),
    }


def summarize(process: Process, work: Workload, ours: np.ndarray) -> dict[str, Any]:
    """Return the results of a contender, given the seconds of ours in the same rounds."""
    seconds = np.array(process.seconds)
    return {
        "name": process.name,
        "images_per_second": quartiles(work.batch_size / seconds, 1),
        "milliseconds": quartiles(1000 * seconds, 3),
        "speedup_of_ours": quartiles(seconds / ours, 3),
        "compile_seconds": round(process.facts["compile_seconds"], 1),
        "compile_peak_mib": round(process.facts["compile_peak_bytes"] / 2**20),
        "working_mib": round(process.working_bytes / 2**20),
        "parameters": process.facts["parameters"],
        "difference": process.facts["difference"],
    }


def quartiles(values: np.ndarray, digits: int) -> list[float]:
    """Return the first quartile, the median and the third quartile."""
    return [round(float(value), digits) for value in np.percentile(values, [25, 50, 75])]


def check_parameters(contenders: list[Process]) -> None:
    """Check that models of the same architecture have the same number of parameters.

    Raises:
      SystemExit: the number differs, and the contender names no difference.
    """
    ours = contenders[0].facts["parameters"]
    for process in contenders:
        if process.facts["parameters"] != ours and not process.facts["difference"]:
            raise SystemExit(
                f"{process.name} has {process.facts['parameters']:,} parameters, ours {ours:,}; "
                "give its Job the same architecture or name the difference"
            )


def table(case: dict[str, Any]) -> str:
    """Return a case as a Markdown table, followed by a summary in sentences."""
    task = {"train": "Training", "infer": "Inference"}[case["task"]]
    lines = [
        f"\n{task}, size {case['size']}, batch {case['batch_size']}:\n",
        "| | images/s | quartiles | ms per batch | ours × as fast | quartiles | "
        "compile, first batch | peak memory while compiling | peak memory while running | "
        "parameters |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in case["contenders"]:
        low, rate, high = map(format_rate, row["images_per_second"])
        _, milliseconds, _ = row["milliseconds"]
        low_speedup, speedup, high_speedup = row["speedup_of_ours"]
        lines.append(
            f"| {row['name']} | {rate} | {low}–{high} | {milliseconds:,.1f} | "
            f"{speedup:.2f} | {low_speedup:.2f}–{high_speedup:.2f} | "
            f"{row['compile_seconds']:.1f} s | {row['compile_peak_mib']:,} MiB | "
            f"{row['working_mib']:,} MiB | {row['parameters']:,} |"
        )
    low, speedup, high = case["speedup_over_fastest_peer"]
    lines.append(
        f"\nThe fastest peer is {case['fastest_peer']}; ours is {speedup:.2f} × as fast "
        f"(quartiles {low:.2f}–{high:.2f})."
    )
    if "gemm_gflops" in case:
        lines.append(
            f"Ours reaches {case['gflops']:.1f} GFLOP/s, {case['share_of_gemm_peak']:.0%} of the "
            f"GEMM peak of {case['gemm_gflops']:.1f} GFLOP/s in the same rounds."
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main(*sys.argv[1:])
