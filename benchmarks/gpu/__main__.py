"""`make bench-gpu` checks and times one GPU, and writes benchmarks/results/gpu.json.

Correctness comes first: logits and gradients next to those of the CPU, then the tests of the model.
Then ours and timm are timed in turns, each in a process of its own. What fails is reported as
that, and the rest goes on; what does not fit into the time is left out, the least valuable first.
"""

import argparse
from pathlib import Path

from benchmarks.gpu.plan import full_plan, quick_plan
from benchmarks.gpu.run import Run
from benchmarks.gpu.table import make_table
from vit_hk.errors import one_line_errors

RESULT = Path("benchmarks/results/gpu.json")
QUICK_RESULT = Path(".scratch/gpu-quick.json")
BUDGET_SECONDS = 480.0


def main() -> None:
    """Run the plan that the arguments choose, and print its table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--budget", type=float, default=BUDGET_SECONDS, help="in seconds")
    parser.add_argument("--quick", action="store_true", help=f"tiny sizes, into {QUICK_RESULT}")
    parser.add_argument(
        "--platform", choices=("gpu", "cpu"), default="gpu", help="cpu only with --quick"
    )
    arguments = parser.parse_args()
    if arguments.platform == "cpu" and not arguments.quick:
        parser.error("the sizes are those of a GPU; on a CPU add --quick")
    if arguments.quick:
        plan, path = quick_plan(arguments.platform, arguments.budget), QUICK_RESULT
    else:
        plan, path = full_plan(arguments.budget), RESULT
    print(make_table(Run(plan, path).run()))
    print(f"\n{path} holds all figures")


if __name__ == "__main__":
    with one_line_errors():
        main()
