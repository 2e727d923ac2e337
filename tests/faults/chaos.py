"""`make chaos`: dozens of kills during one run, then the same bytes as an uninterrupted run.

    python tests/faults/chaos.py [SEED]

It trains on the 5,000 real digits of the offline sample, once by the trainer alone and once by
dvc repro.
"""

import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from kills import DVC, TRAINER, Kills
from project_clone import Clone, check_same, copy_project, outputs

NUM_KILLS = 40  # of each command
MAX_SECONDS = 9.0  # until a kill
SMALL = {
    "platform": "cpu", "model__patch_size": 14, "model__hidden_size": 32, "model__num_layers": 2,
    "model__num_heads": 2, "model__mlp_dim": 64, "train__epochs": 100,
    "train__checkpoint_steps": 20, "attention__num_images": 2, "attention__num_wrong": 1,
}  # fmt: skip


def main() -> None:
    """Kill both commands, and fail where an output differs by one byte."""
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else int(time.time())
    print(f"seed {seed}")
    commands = {"trainer alone": TRAINER, "dvc repro": DVC}
    with tempfile.TemporaryDirectory() as folder:
        # All are copied first, so that an edit of the project meanwhile affects none of them.
        names = ("uninterrupted", *commands)
        clones = {name: copy_with_small_model(Path(folder) / name) for name in names}
        clones["uninterrupted"].repro()
        expected = outputs(clones["uninterrupted"].folder)
        for name, command in commands.items():
            clone = clones[name]
            clone.repro("download")
            started = time.monotonic()
            kills = Kills(clone, command, seed, MAX_SECONDS)
            kills.run(NUM_KILLS)
            clone.repro()  # the other stages, and dvc.lock
            check_same(expected, outputs(clone.folder))
            print_counts(name, kills, time.monotonic() - started)


def copy_with_small_model(folder: Path) -> Clone:
    """Copy the project and set a small model."""
    clone = copy_project(folder)
    clone.set(**SMALL)
    return clone


def print_counts(name: str, kills: Kills, seconds: float) -> None:
    """Print the counts of one command as a paragraph."""
    kinds = ", ".join(f"{count} x {kind}" for kind, count in sorted(kills.counts.items()))
    print(
        f"{name}: {kills.counts.total()} kills in {seconds:.0f} s ({kinds}); resumed from a "
        f"checkpoint {kills.printed.count('resumed after step')} times; refused beside a running "
        f"trainer {kills.refused} times; {kills.printed.count('is damaged')} damaged checkpoints; "
        f"{kills.repaired} half-written files of DVC set aside; all outputs have the bytes of an "
        "uninterrupted run"
    )


if __name__ == "__main__":
    main()
