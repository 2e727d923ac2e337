"""One training of `make bench-99`, in a separate process that prints the result as JSON."""

import dataclasses
import importlib
import json
import sys

from vit_hk.errors import one_line_errors


def main() -> None:
    """Train; the arguments are a module of benchmarks/recipes, the seed, and a limit in seconds."""
    name, seed, limit = sys.argv[1:]
    # Standard output is reserved for the result; what libraries print goes to standard error.
    answers, sys.stdout = sys.stdout, sys.stderr
    recipe = importlib.import_module(f"benchmarks.recipes.{name}")
    print(json.dumps(dataclasses.asdict(recipe.run(int(seed), float(limit)))), file=answers)


if __name__ == "__main__":
    with one_line_errors():
        main()
