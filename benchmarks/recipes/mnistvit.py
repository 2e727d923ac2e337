"""mnistvit with its own settings, augmentation and loop; it ends when it reaches the target."""

import struct
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from benchmarks.contenders.torch_job import channels_first, count_parameters, normalize
from benchmarks.recipes import TrainingResult
from benchmarks.recipes.accuracy import measure_accuracy
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


class StopTraining(Exception):  # noqa: N818 (a signal, not an error)
    """A signal that ends mnistvit's training loop; its message is the reason."""


class TimedLoader:
    """A data loader that stops the training when its time limit is reached."""

    def __init__(self, loader: torch.utils.data.DataLoader) -> None:
        """Wrap a loader; the caller sets `end`, a value of time.perf_counter."""
        self.loader, self.end = loader, 0.0

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[list[torch.Tensor]]:
        for batch in self.loader:
            if time.perf_counter() > self.end:
                raise StopTraining("limit")
            yield batch


def run(seed: int, limit: float) -> TrainingResult:
    """Train until the target is reached, the recipe ends, or `limit` seconds have passed.

    The seconds exclude the evaluations on the test images.
    """
    torch.set_num_threads(torch.get_num_threads())  # so that MKL does not choose fewer
    torch.manual_seed(seed)
    dataset = load_mnist()
    test_images = normalize(channels_first(dataset.x_test))
    with tempfile.TemporaryDirectory() as folder:
        _write_mnist(Path(folder), dataset.x_train, dataset.y_train)
        loader, _ = get_train_loaders_mnist(folder, CONFIG["batch_size"])
    model = VisionTransformer(**make_mnist_model_config(CONFIG))
    timed_loader = TimedLoader(loader)
    accuracies: list[float] = []
    evaluation_seconds = 0.0

    def evaluate(*_: object) -> None:
        nonlocal evaluation_seconds
        evaluation_started = time.perf_counter()
        accuracies.append(measure_accuracy(model, test_images, dataset.y_test))
        spent = time.perf_counter() - evaluation_started
        evaluation_seconds += spent
        timed_loader.end += spent
        if accuracies[-1] >= TARGET:
            raise StopTraining("target")

    keys = ("num_epochs", "lr", "weight_decay", "epoch_lr_restart")
    settings = {name: CONFIG[name] for name in keys}
    started, ended = time.perf_counter(), "recipe"
    timed_loader.end = started + limit
    try:
        train(model, timed_loader, torch.nn.CrossEntropyLoss(), **settings, report_fn=evaluate)
    except StopTraining as stopped:
        ended = str(stopped)
    seconds, epochs = time.perf_counter() - started - evaluation_seconds, len(accuracies)
    if ended == "limit":
        accuracies.append(measure_accuracy(model, test_images, dataset.y_test))
    return TrainingResult(seconds, 0.0, epochs, count_parameters(model), accuracies[-1], ended)


def _write_mnist(folder: Path, images: np.ndarray, labels: np.ndarray) -> None:
    """Write the files of MNIST where torchvision expects them, since mnistvit reads only these."""
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part in ("train", "t10k"):  # torchvision requires both, the training set is read
        header = struct.pack(">4i", 2051, len(images), *images.shape[1:3])
        (raw / f"{part}-images-idx3-ubyte").write_bytes(header + images.tobytes())
        header = struct.pack(">2i", 2049, len(labels))
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(header + labels.astype(np.uint8).tobytes())
