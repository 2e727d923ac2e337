"""`make chaos`: dozens of kills across one run, then the bytes of a run never interrupted.

    python tests/faults/chaos.py [SEED]

Trains on the 5,000 real digits of the offline sample, once without and once with dvc around
the trainer.
"""

import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from kills import DVC, TRAINER, Kills
from project_clone import Clone, copy_project, outputs

KILLS = 40  # of each command
LONGEST = 9.0  # seconds until a kill
SMALL = {
    "model__patch_size": 14, "model__hidden_size": 32, "model__num_layers": 2,
    "model__num_heads": 2, "model__mlp_dim": 64, "train__epochs": 100,
    "train__checkpoint_steps": 20, "train__platform": "cpu", "attention__num_images": 2,
    "attention__num_wrong": 1,
}  # fmt: skip


def main() -> None:
    """Print what was done; fail where a byte differs."""
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else int(time.time())
    print(f"seed {seed}")
    with tempfile.TemporaryDirectory() as folder:
        whole = prepare(Path(folder) / "never interrupted")
        whole.repro()
        expected = outputs(whole.folder)
        for name, command in (("without dvc", TRAINER), ("with dvc", DVC)):
            clone = prepare(Path(folder) / name)
            clone.repro("download")
            started = time.monotonic()
            kills = Kills(clone, command, seed, LONGEST)
            kills.run(KILLS)
            clone.repro()  # dvc's part, where the trainer was alone
            check_same(expected, clone.folder)
            report(name, kills, time.monotonic() - started)


def prepare(folder: Path) -> Clone:
    """A copy of the project with a small model."""
    clone = copy_project(folder)
    clone.set(**SMALL)
    return clone


def check_same(expected: dict[str, bytes], folder: Path) -> None:
    """Fail where an output is missing, one too many, or has other bytes."""
    found = outputs(folder)
    names = expected.keys() | found.keys()
    differ = sorted(name for name in names if expected.get(name) != found.get(name))
    assert not differ, f"{folder}: {differ}"


def report(name: str, kills: Kills, seconds: float) -> None:
    """One paragraph of figures."""
    ways = ", ".join(f"{count} x {way}" for way, count in sorted(kills.done.items()))
    resumed = kills.printed.count("goes on after step")
    print(
        f"{name}: {kills.done.total()} kills in {seconds:.0f} s ({ways}); went on from a "
        f"checkpoint {resumed} times; refused beside a running trainer {kills.refused} times; "
        f"{kills.printed.count('is damaged')} damaged checkpoints; {kills.mended} files of DVC "
        "half-written; all outputs as if never interrupted"
    )


if __name__ == "__main__":
    main()
