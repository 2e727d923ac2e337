"""The work of all contenders in PyTorch: what their README files show, with the fast options.

Import this before them: they import torchvision, which may need help.
"""

import itertools
import os
from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional

from benchmarks.contenders import Job
from benchmarks.contenders.images import batches, random_images
from benchmarks.workload import LARGEST_NORM, LEARNING_RATE, MEAN, STD, WEIGHT_DECAY, Workload
from vit_hk.sources import import_torchvision_datasets

import_torchvision_datasets()


def make_job(model: torch.nn.Module, work: Workload, difference: str = "") -> Job:
    """A model of images float [B, 1, height, width] at its task; it may be compiled."""
    torch.set_num_threads(os.cpu_count() or 1)
    images, labels = random_images(work)
    images, labels = channels_first(images), torch.from_numpy(labels).long()
    if work.task == "train":
        run = _train(model, images, labels, work.batch_size)
    else:
        run = _infer(model, images, work.batch_size)
    return Job(run, count_parameters(model), difference)


def count_parameters(model: torch.nn.Module) -> int:
    """How many numbers are learned."""
    return sum(weights.numel() for weights in model.parameters())


def channels_first(images: np.ndarray) -> torch.Tensor:
    """From [N, height, width, channels] to [N, channels, height, width]."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()


def normalize(images: torch.Tensor, mean: float = MEAN, std: float = STD) -> torch.Tensor:
    """Float images with mean 0 and deviation 1 from uint8 ones."""
    return (images.float() / 255 - mean) / std


def make_adamw(model: torch.nn.Module, rate: float, decay: float) -> torch.optim.AdamW:
    """Fused AdamW that decays weight matrices only, as ours."""
    matrices, others = [], []
    for name, weights in model.named_parameters():
        decays = name.endswith("weight") and weights.ndim > 1
        (matrices if decays else others).append(weights)
    groups = [{"params": matrices, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=rate, fused=True)


def _train(
    model: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor, batch_size: int
) -> Callable[[int], None]:
    model.train()
    optimizer = make_adamw(model, LEARNING_RATE, WEIGHT_DECAY)
    order = batches(len(images), batch_size)

    def run(count: int) -> None:
        for chosen in map(torch.from_numpy, itertools.islice(order, count)):
            optimizer.zero_grad()
            logits = model(normalize(images[chosen]))
            functional.cross_entropy(logits, labels[chosen]).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), LARGEST_NORM)
            optimizer.step()

    return run


def _infer(model: torch.nn.Module, images: torch.Tensor, batch_size: int) -> Callable[[int], None]:
    model.eval()

    def run(count: int) -> None:
        with torch.inference_mode():
            for batch in images[: count * batch_size].split(batch_size):
                model(normalize(batch))

    return run
