"""mnistvit with the settings, augmentation and loop of its own; ends when it passes the target."""

import os
import struct
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from benchmarks.contenders.torch_job import channels_first, count_parameters, normalize
from benchmarks.recipes import Finished
from benchmarks.recipes.accuracy import accuracy_of
from benchmarks.recipes.settings import TARGET, load_mnist

# isort: split
from mnistvit.model import VisionTransformer
from mnistvit.preprocess import get_train_loaders_mnist
from mnistvit.train import make_mnist_model_config, train

# The defaults of `python -m mnistvit.train`, which trains on all 60,000 images.
CONFIG = {
    "batch_size": 32,
    "num_epochs": 60,
    "lr": 1e-4,
    "weight_decay": 2e-2,
    "epoch_lr_restart": 22,
    "patch_size": 4,
    "num_heads": 28,
    "latent_size_multiplier": 15,
    "num_layers": 9,
    "encoder_size": 615,
    "head_size": 88,
    "dropout": 6e-2,
    "encoder_activation": "gelu",
    "head_activation": "gelu",
}


class StopTraining(Exception):  # noqa: N818 it is no error
    """Ends mnistvit's loop; holds why."""


class TimedLoader:
    """A loader whose epochs break off when the time is over."""

    def __init__(self, loader: torch.utils.data.DataLoader) -> None:
        """Wrap a loader; `end` is set later."""
        self.loader, self.end = loader, 0.0

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[list[torch.Tensor]]:
        for batch in self.loader:
            if time.perf_counter() > self.end:
                raise StopTraining("limit")
            yield batch


def run(seed: int, limit: float) -> Finished:
    """Train until the target is passed, the recipe is over, or `limit` seconds have gone.

    The seconds leave out the looks at the test images.
    """
    torch.set_num_threads(os.cpu_count() or 1)
    torch.manual_seed(seed)
    dataset = load_mnist()
    test_images = normalize(channels_first(dataset.x_test))
    with tempfile.TemporaryDirectory() as folder:
        _write_mnist(Path(folder), dataset.x_train, dataset.y_train)
        loader, _ = get_train_loaders_mnist(folder, CONFIG["batch_size"])
    model = VisionTransformer(**make_mnist_model_config(CONFIG))
    timed = TimedLoader(loader)
    accuracies: list[float] = []
    looking = 0.0

    def look(*_: object) -> None:
        nonlocal looking
        looked = time.perf_counter()
        accuracies.append(accuracy_of(model, test_images, dataset.y_test))
        looking += (spent := time.perf_counter() - looked)
        timed.end += spent
        if accuracies[-1] >= TARGET:
            raise StopTraining("target")

    wanted = ("num_epochs", "lr", "weight_decay", "epoch_lr_restart")
    settings = {name: CONFIG[name] for name in wanted}
    started, ended = time.perf_counter(), "recipe"
    timed.end = started + limit
    try:
        train(model, timed, torch.nn.CrossEntropyLoss(), **settings, report_fn=look)
    except StopTraining as stopped:
        ended = str(stopped)
    seconds, epochs = time.perf_counter() - started - looking, len(accuracies)
    if ended == "limit":
        accuracies.append(accuracy_of(model, test_images, dataset.y_test))
    return Finished(seconds, 0.0, epochs, count_parameters(model), accuracies[-1], ended)


def _write_mnist(folder: Path, images: np.ndarray, labels: np.ndarray) -> None:
    """The files of MNIST where torchvision looks for them; mnistvit reads nothing else."""
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part in ("train", "t10k"):  # it asks for both, and reads the first
        header = struct.pack(">4i", 2051, len(images), *images.shape[1:3])
        (raw / f"{part}-images-idx3-ubyte").write_bytes(header + images.tobytes())
        header = struct.pack(">2i", 2049, len(labels))
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(header + labels.astype(np.uint8).tobytes())
