"""`make bench`: one training step and one pass of inference, ours and of peers.

Writes benchmarks/results/speed.json and speed.png, and prints the tables of docs/performance.md.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.contenders import CONTENDERS, MATRIX_PRODUCTS, matrix_product
from benchmarks.machine import describe_machine, warn_if_disturbed
from benchmarks.operations import operations
from benchmarks.process import DISTURBED, Process, started
from benchmarks.speed_figure import draw_speed
from benchmarks.workload import BATCH_SIZES, SIZES, Workload
from vit_hk.atomic import replacing
from vit_hk.figures.saving import save_figure

RESULTS = Path("benchmarks/results")
ROUNDS = 15
CHUNK = 0.5  # seconds that one contender works in a round


def main() -> None:
    """Measure all sizes and tasks, one after the other."""
    machine = describe_machine()
    print(f"{machine['processor']}, {machine['cores']} cores, {machine['vector_instructions']}")
    cases = []
    for size in SIZES:
        for task in BATCH_SIZES:
            cases.append(measure(size, Workload(task, BATCH_SIZES[task], **SIZES[size])))
            print(table(cases[-1]), flush=True)
    report = {"machine": machine, "rounds": ROUNDS, "cases": cases}
    with replacing(RESULTS / "speed.json") as temporary:
        temporary.write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    save_figure(draw_speed(report), RESULTS / "speed.png")


def measure(size: str, work: Workload) -> dict[str, Any]:
    """Let all contenders work in turn, round after round, and compare."""
    products = MATRIX_PRODUCTS if work.task == "train" else {}
    with started([*CONTENDERS, *products], work, CHUNK) as processes:
        for _ in range(ROUNDS):
            for process in processes:
                process.work()
    disturbances = [share for process in processes for share in process.disturbances]
    warn_if_disturbed(disturbances, DISTURBED)
    contenders = [process for process in processes if process.name in CONTENDERS]
    check_parameters(contenders)
    seconds = {process.name: np.array(process.seconds) for process in processes}
    medians = {name: np.median(seconds[name]) for name in CONTENDERS}
    ours = seconds["ours"]
    peer = min((name for name in CONTENDERS if name != "ours"), key=medians.__getitem__)
    rate = operations(work, whole_last_block=False) / medians["ours"]
    case = {
        "size": size,
        "task": work.task,
        "batch_size": work.batch_size,
        "fastest_peer": peer,
        "times_as_fast_as_it": quartiles(seconds[peer] / ours, 3),
        "operations_per_image": {
            "ours": operations(work, whole_last_block=False) // work.batch_size,
            "peers": operations(work, whole_last_block=True) // work.batch_size,
        },
        "operations_per_second": round(rate),
        "disturbed_rounds": sum(share >= DISTURBED for share in disturbances),
        "contenders": [figures(process, work, ours) for process in contenders],
    }
    if products:
        fastest = min(np.median(seconds[name]) for name in products)
        case["matrix_product_per_second"] = round(matrix_product.OPERATIONS / fastest)
    return case


def figures(process: Process, work: Workload, ours: np.ndarray) -> dict[str, Any]:
    """What is kept of one contender, given the seconds of ours in the same rounds."""
    seconds = np.array(process.seconds)
    return {
        "name": process.name,
        "images_per_second": quartiles(work.batch_size / seconds, 1),
        "milliseconds": quartiles(1000 * seconds, 3),
        "ours_times_as_fast": quartiles(seconds / ours, 3),
        "compile_seconds": round(process.facts["compile_seconds"], 1),
        "compile_peak_mib": round(process.facts["compile_peak_bytes"] / 2**20),
        "working_mib": round(process.working_bytes / 2**20),
        "parameters": process.facts["parameters"],
        "difference": process.facts["difference"],
    }


def quartiles(values: np.ndarray, digits: int) -> list[float]:
    """First quartile, median, third quartile."""
    return [round(float(value), digits) for value in np.percentile(values, [25, 50, 75])]


def check_parameters(contenders: list[Process]) -> None:
    """Models that claim to be the same must have as many parameters.

    Raises:
      SystemExit: one has not.
    """
    ours = contenders[0].facts["parameters"]
    for process in contenders:
        if process.facts["parameters"] != ours and not process.facts["difference"]:
            raise SystemExit(
                f"{process.name} has {process.facts['parameters']:,} parameters, ours {ours:,}"
            )


def table(case: dict[str, Any]) -> str:
    """One case as a table of Markdown, and a sentence."""
    task = {"train": "Training", "infer": "Inference"}[case["task"]]
    lines = [
        f"\n{task}, size {case['size']}, batch {case['batch_size']}:\n",
        "| | images/s | quartiles | ms a batch | ours is … times as fast | quartiles | "
        "compile, first batch | peak while compiling | memory at work | parameters |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in case["contenders"]:
        low, rate, high = row["images_per_second"]
        _, milliseconds, _ = row["milliseconds"]
        below, ratio, above = row["ours_times_as_fast"]
        lines.append(
            f"| {row['name']} | {rate:,.0f} | {low:,.0f}–{high:,.0f} | {milliseconds:,.1f} | "
            f"{ratio:.2f} | {below:.2f}–{above:.2f} | {row['compile_seconds']:.1f} s | "
            f"{row['compile_peak_mib']:,} MiB | {row['working_mib']:,} MiB | "
            f"{row['parameters']:,} |"
        )
    low, ratio, high = case["times_as_fast_as_it"]
    lines.append(
        f"\nThe fastest peer is {case['fastest_peer']}; ours is {ratio:.2f} times as fast "
        f"(quartiles {low:.2f}–{high:.2f})."
    )
    rate = case["operations_per_second"]
    if roof := case.get("matrix_product_per_second"):
        lines.append(
            f"Ours does {rate / 1e9:.1f} billion operations a second, {rate / roof:.0%} of the "
            f"{roof / 1e9:.1f} billion of a large matrix product in the same rounds."
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
