"""`make bench-99`: how long a training takes that reaches 99.0 % of MNIST's test images.

Our recipe is fixed beforehand and reads the test images once, at its end. The peers may look at
them after each epoch, and stop at the first that passes. Writes benchmarks/results/time_to_99.json.
"""

import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.machine import describe_machine
from benchmarks.recipes.settings import RECIPE, TARGET, load_mnist
from vit_hk.atomic import replacing
from vit_hk.errors import one_line_errors

RESULT = Path("benchmarks/results/time_to_99.json")
SEEDS = range(5)
PATIENCE = 20  # times our seconds; peers are stopped then
NAMES = {
    "ours": "ours",
    "timm": "timm, our size and recipe",
    "mnistvit": "mnistvit, its own size and recipe",
}

Run = dict[str, Any]


def main() -> None:
    """Train ours and timm's ViT with each seed in turn, then mnistvit, which takes long, once."""
    load_mnist()  # says at once if it is not there
    runs: dict[str, list[Run]] = {name: [] for name in NAMES}

    def add(name: str, seed: int, limit: float) -> None:
        runs[name].append(train_once(name, seed, limit))
        write(runs)  # each time, since all of it takes long

    for seed in SEEDS:
        add("ours", seed, 0.0)
        add("timm", seed, PATIENCE * runs["ours"][-1]["seconds"])
    mean = statistics.mean(run["seconds"] for run in runs["ours"])
    add("mnistvit", SEEDS[0], PATIENCE * mean)
    print(table(runs))


def write(runs: dict[str, list[Run]]) -> None:
    """What is measured so far, to RESULT."""
    report = {
        "machine": describe_machine(),
        "target": TARGET,
        "recipe": RECIPE.read_text("utf-8"),
        "runs": runs,
    }
    with replacing(RESULT) as temporary:
        temporary.write_text(json.dumps(report, indent=2) + "\n", "utf-8")


def train_once(name: str, seed: int, limit: float) -> Run:
    """One training in a process of its own."""
    print(f"{name}, seed {seed}", file=sys.stderr, flush=True)
    process = subprocess.run(
        [sys.executable, "-m", "benchmarks.train_once", name, str(seed), str(limit)],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    if process.returncode:
        raise SystemExit(process.returncode)  # it has said why
    run = {"seed": seed} | json.loads(process.stdout.splitlines()[-1])
    return {
        key: round(value, 4) if isinstance(value, float) else value for key, value in run.items()
    }


def table(runs: dict[str, list[Run]]) -> str:
    """A table of Markdown."""
    lines = [
        "| | parameters | runs | epochs | seconds, mean (spread) | of it compiling | "
        "test accuracy, mean (spread) | reached 99.0 % |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, some in runs.items():
        accuracies = [100 * run["test_accuracy"] for run in some]
        seconds = [run["seconds"] for run in some]
        compiling = statistics.mean(run["compile_seconds"] for run in some)
        epochs = sorted({run["epochs"] for run in some})
        reached = sum(run["test_accuracy"] >= TARGET for run in some)
        lines.append(
            f"| {NAMES[name]} | {some[0]['parameters']:,} | {len(some)} | "
            f"{'–'.join(str(count) for count in {epochs[0]: 0, epochs[-1]: 0})} | "
            f"{_mean_and_range(seconds, 1)} | {compiling:.1f} | "
            f"{_mean_and_range(accuracies, 2)} | {reached} of {len(some)} |"
        )
    return "\n".join(lines)


def _mean_and_range(values: list[float], digits: int) -> str:
    mean, low, high = statistics.mean(values), min(values), max(values)
    return f"{mean:,.{digits}f} ({low:,.{digits}f}–{high:,.{digits}f})"


if __name__ == "__main__":
    with one_line_errors():
        main()
