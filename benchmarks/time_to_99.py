"""`make bench-99` measures the time to train to a test accuracy of 99.0 % on MNIST.

Our recipe is fixed beforehand and evaluated on the test images once, at its end. The peers are
evaluated after each epoch and stop at the first epoch that reaches the target. The results go to
benchmarks/results/time_to_99.json.
"""

import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.machine import describe_machine
from benchmarks.process import ENVIRONMENT
from benchmarks.recipes.settings import RECIPE, TARGET, load_mnist
from vit_hk.atomic import replacing
from vit_hk.errors import one_line_errors

RESULT = Path("benchmarks/results/time_to_99.json")
SEEDS = range(5)
TIME_LIMIT = 20  # for peers, in multiples of our seconds
NAMES = {
    "ours": "ours",
    "timm": "timm, our size and recipe",
    "mnistvit": "mnistvit, its own size and recipe",
}

Run = dict[str, Any]


def main() -> None:
    """Train ours and timm's ViT with each seed, and the slow mnistvit with one seed."""
    load_mnist()  # fails before the first training if the data are missing
    runs: dict[str, list[Run]] = {name: [] for name in NAMES}

    def add(name: str, seed: int, limit: float) -> None:
        runs[name].append(train_once(name, seed, limit))
        write(runs)  # after each run, since all of them take minutes

    for seed in SEEDS:
        add("ours", seed, 0.0)
        add("timm", seed, TIME_LIMIT * runs["ours"][-1]["seconds"])
    mean = statistics.mean(run["seconds"] for run in runs["ours"])
    add("mnistvit", SEEDS[0], TIME_LIMIT * mean)
    print(table(runs))


def write(runs: dict[str, list[Run]]) -> None:
    """Write all measurements so far to RESULT."""
    report = {
        "machine": describe_machine(),
        "target": TARGET,
        "recipe": RECIPE.read_text("utf-8"),
        "runs": runs,
    }
    with replacing(RESULT) as temporary:
        temporary.write_text(json.dumps(report, indent=2) + "\n", "utf-8")


def train_once(name: str, seed: int, limit: float) -> Run:
    """Train in a separate process and return the result."""
    print(f"{name}, seed {seed}", file=sys.stderr, flush=True)
    process = subprocess.run(
        [sys.executable, "-m", "benchmarks.train_once", name, str(seed), str(limit)],
        stdout=subprocess.PIPE, text=True, env=ENVIRONMENT,
    )  # fmt: skip
    if process.returncode:
        raise SystemExit(process.returncode)  # the process has printed its error
    run = {"seed": seed} | json.loads(process.stdout.splitlines()[-1])
    return {
        key: round(value, 4) if isinstance(value, float) else value for key, value in run.items()
    }


def table(runs: dict[str, list[Run]]) -> str:
    """Return all runs as a Markdown table."""
    lines = [
        "| | parameters | runs | epochs | seconds, mean (range) | of them compiling | "
        "test accuracy in %, mean (range) | reached 99.0 % |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, results in runs.items():
        accuracies = [100 * run["test_accuracy"] for run in results]
        seconds = [run["seconds"] for run in results]
        compiling = statistics.mean(run["compile_seconds"] for run in results)
        epochs = sorted({run["epochs"] for run in results})
        reached = sum(run["test_accuracy"] >= TARGET for run in results)
        lines.append(
            f"| {NAMES[name]} | {results[0]['parameters']:,} | {len(results)} | "
            f"{'–'.join(str(count) for count in {epochs[0]: 0, epochs[-1]: 0})} | "
            f"{_mean_and_range(seconds, 1)} | {compiling:.1f} | "
            f"{_mean_and_range(accuracies, 2)} | {reached} of {len(results)} |"
        )
    return "\n".join(lines)


def _mean_and_range(values: list[float], digits: int) -> str:
    mean, low, high = statistics.mean(values), min(values), max(values)
    return f"{mean:,.{digits}f} ({low:,.{digits}f}–{high:,.{digits}f})"


if __name__ == "__main__":
    with one_line_errors():
        main()
