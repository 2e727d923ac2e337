"""Training and inference of the PyTorch contenders: the loops of their READMEs, with fast options.

Import this module before the contenders: they import torchvision, which can fail without
`import_torchvision_datasets`.
"""

import itertools
from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch.nn import functional

from benchmarks.contenders import Job
from benchmarks.contenders.images import batches, random_images
from benchmarks.workload import LEARNING_RATE, MAX_NORM, MEAN, STD, WEIGHT_DECAY, Workload
from vit_hk.data.sources.torchvision_sets import import_torchvision_datasets

import_torchvision_datasets()


def make_job(model: torch.nn.Module, work: Workload, difference: str = "") -> Job:
    """Make a job of a model, compiled or not, for images float [B, channels, height, width]."""
    torch.set_num_threads(torch.get_num_threads())  # so that MKL does not choose fewer
    images, labels = random_images(work)
    images, labels = channels_first(images), torch.from_numpy(labels).long()
    if work.task == "train":
        run = _train(model, images, labels, work.batch_size)
    else:
        run = _infer(model, images, work.batch_size)
    return Job(run, count_parameters(model), difference)


def count_parameters(model: torch.nn.Module) -> int:
    """Return the number of learned parameters."""
    return sum(weights.numel() for weights in model.parameters())


def channels_first(images: np.ndarray) -> torch.Tensor:
    """Return images [images, channels, height, width] of [images, height, width, channels]."""
    # A copy: PyTorch warns of arrays that cannot be written.
    return torch.from_numpy(images.copy()).permute(0, 3, 1, 2).contiguous()


def normalize(images: torch.Tensor, mean: float = MEAN, std: float = STD) -> torch.Tensor:
    """Convert uint8 images to float32 with mean 0 and standard deviation 1."""
    return (images.float() / 255 - mean) / std


def make_adamw(
    parameters: Iterable[tuple[str, torch.Tensor]], learning_rate: float, weight_decay: float
) -> torch.optim.AdamW:
    """Make a fused AdamW that decays weight matrices only, as ours does."""
    matrices, others = [], []
    for name, weights in parameters:
        decays = name.endswith("weight") and weights.ndim > 1
        (matrices if decays else others).append(weights)
    groups = [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=learning_rate, fused=True)


def _train(
    model: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor, batch_size: int
) -> Callable[[int], None]:
    model.train()
    optimizer = make_adamw(model.named_parameters(), LEARNING_RATE, WEIGHT_DECAY)
    order = batches(len(images), batch_size)

    def run(count: int) -> None:
        for chosen in map(torch.from_numpy, itertools.islice(order, count)):
            optimizer.zero_grad()
            logits = model(normalize(images[chosen]))
            functional.cross_entropy(logits, labels[chosen]).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_NORM)
            optimizer.step()

    return run


def _infer(model: torch.nn.Module, images: torch.Tensor, batch_size: int) -> Callable[[int], None]:
    model.eval()

    def run(count: int) -> None:
        with torch.inference_mode():
            for batch in images[: count * batch_size].split(batch_size):
                model(normalize(batch))

    return run
