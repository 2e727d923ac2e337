"""`python -m benchmarks.processes` compares two processes of one device with one process of two.

Both train the default model on full MNIST on this machine, in turns, and have the same weights in
the end. It prints the medians of the images per second of the training steps, for each batch size.
"""

import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

from vit_hk.runtime.launcher_variables import ADDRESS, COUNT, INDEX

BATCH_SIZES = (64, 512, 4096)
ROUNDS = 3
EPOCHS = 2  # the first steps include the connection of the processes
COPIED = ("stages", "vit_hk", "dvc.yaml", "models/random", "data/dataset.npz")
DEFAULT = "recipes/default.yaml"


def main() -> None:
    """Measure each batch size in both layouts."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for path in COPIED:
            copy = shutil.copytree if Path(path).is_dir() else shutil.copy
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            copy(path, folder / path)
        shutil.copy(DEFAULT, folder / "params.yaml")
        for batch_size in BATCH_SIZES:
            change_settings(folder / "params.yaml", batch_size)
            rates: dict[int, list[float]] = {1: [], 2: []}
            for _ in range(ROUNDS):
                for count, measured in rates.items():
                    measured.append(train(folder, count))
            one, two = (statistics.median(rates[count]) for count in (1, 2))
            print(
                f"batch {batch_size:,}: {one:,.0f} images/s in one process, {two:,.0f} in two, "
                f"{two / one:.2f} times as many",
                flush=True,
            )


def change_settings(path: Path, batch_size: int) -> None:
    """Write a short training with this batch size into params.yaml."""
    params = yaml.safe_load(path.read_text("utf-8"))
    params["train"] |= {"batch_size": batch_size, "epochs": EPOCHS}
    path.write_text(yaml.safe_dump(params), "utf-8")


def train(folder: Path, count: int) -> float:
    """Train in `count` processes with two devices in all; return the images per second."""
    # Several processes leave their last state, from which the next ones would have nothing to do.
    shutil.rmtree(folder / ".scratch" / "train", ignore_errors=True)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    devices = {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(2 // count)}
    described = {ADDRESS: address, COUNT: str(count)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "stages.train"], cwd=folder, stdout=subprocess.DEVNULL,
            env=os.environ | devices | described | {INDEX: str(index)},
        )
        for index in range(count)
    ]  # fmt: skip
    exit_codes = [process.wait() for process in processes]
    if any(exit_codes):
        raise SystemExit("a training failed; see the lines above")
    timing = json.loads((folder / "results" / "timing.json").read_text("utf-8"))
    return float(timing["train"]["images_per_second"])


if __name__ == "__main__":
    main()
