"""`make reproducible`: the same bytes in fresh clones at different paths, and with kills between.

    python tests/faults/reproducible.py [SEED]

Runs the whole pipeline of the last commit on the 5,000 real digits of the offline sample.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from chaos import LONGEST, SMALL, check_same
from kills import DVC, Kills
from project_clone import PROJECT, Clone, outputs

KILLS = 10


def main() -> None:
    """Print what was compared; fail where a byte differs."""
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    with tempfile.TemporaryDirectory() as folder:
        one = fresh_clone(Path(folder) / "one")
        one.repro()
        expected = outputs(one.folder)
        other = fresh_clone(Path(folder) / "another place" / "Projékt zwei")
        other.repro()
        say_same(expected, other, "a second clone at another path")
        killed = fresh_clone(Path(folder) / "killed")
        kills = Kills(killed, DVC, seed, LONGEST)
        kills.run(KILLS)
        say_same(expected, killed, f"a third one after {kills.done.total()} kills, seed {seed}")


def fresh_clone(folder: Path) -> Clone:
    """The last commit, with a small model."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["git", "clone", "--quiet", PROJECT, folder], check=True)
    clone = Clone(folder)
    clone.set(**SMALL)
    return clone


def say_same(expected: dict[str, bytes], clone: Clone, name: str) -> None:
    """Compare the outputs and say how many have the same bytes."""
    check_same(expected, clone.folder)
    print(f"{name}: {len(expected)} files with the same bytes, dvc.lock among them")


if __name__ == "__main__":
    main()
