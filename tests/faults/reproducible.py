"""`make reproducible`: the same bytes in fresh clones at different paths, and after kills.

    python tests/faults/reproducible.py [SEED]

It runs the whole pipeline of the last commit on the 5,000 real digits of the offline sample.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from chaos import MAX_SECONDS, SMALL
from kills import DVC, Kills
from project_clone import PROJECT, Clone, check_same, outputs

NUM_KILLS = 10


def main() -> None:
    """Run the pipeline in three clones, and fail where an output differs by one byte."""
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    with tempfile.TemporaryDirectory() as folder:
        first = clone_with_small_model(Path(folder) / "first")
        first.repro()
        expected = outputs(first.folder)
        second = clone_with_small_model(Path(folder) / "another place" / "Projékt zwei")
        second.repro()
        compare(expected, second, "a second clone at another path")
        killed = clone_with_small_model(Path(folder) / "killed")
        kills = Kills(killed, DVC, seed, MAX_SECONDS)
        kills.run(NUM_KILLS)
        compare(expected, killed, f"a clone after {kills.counts.total()} kills, seed {seed}")


def clone_with_small_model(folder: Path) -> Clone:
    """Clone the last commit and set a small model."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["git", "clone", "--quiet", PROJECT, folder], check=True)
    clone = Clone(folder)
    clone.set(**SMALL)
    return clone


def compare(expected: dict[str, bytes], clone: Clone, name: str) -> None:
    """Compare the outputs and print how many have the same bytes."""
    check_same(expected, outputs(clone.folder))
    print(f"{name}: {len(expected)} files with the same bytes, dvc.lock among them")


if __name__ == "__main__":
    main()
