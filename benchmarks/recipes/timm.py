"""timm's ViT of our size with our recipe; it ends after the first epoch that reaches the target.

The convolutional stem is built from PyTorch's modules. Matrices of the blocks are updated by
torch.optim.Muon, all other parameters by AdamW.
"""

import math
import time

import numpy as np
import torch
from torch.nn import functional

from benchmarks.contenders.timm import make_model
from benchmarks.contenders.torch_job import (
    channels_first,
    count_parameters,
    make_adamw,
    normalize,
)
from benchmarks.recipes import TrainingResult
from benchmarks.recipes.accuracy import measure_accuracy
from benchmarks.recipes.settings import RECIPE, TARGET, load_mnist, load_recipe
from benchmarks.workload import PLAIN, Workload
from vit_hk.errors import UserError
from vit_hk.model.stem_layers import KERNEL_SIZE, stem_layers
from vit_hk.params import Config
from vit_hk.training.data import prepare_data
from vit_hk.training.optimizer import learning_rate_schedule

# Keys of params.yaml of which this module supports a single value.
SUPPORTED_TRAINING = {"optimizer": "muon", "sam_rho": 0.0, "ema_decay": 0.0, "precision": "float32"}
SUPPORTED_MODEL = PLAIN | {"stem": "conv"}


def run(seed: int, limit: float) -> TrainingResult:
    """Train until the target is reached, the recipe ends, or `limit` seconds have passed.

    The seconds exclude the evaluations on the test images.

    Raises:
      UserError: the recipe uses a setting that this module does not implement.
    """
    torch.set_num_threads(torch.get_num_threads())  # so that MKL does not choose fewer
    torch.manual_seed(seed)
    config, dataset = load_recipe(seed), load_mnist()
    _check(config)
    data, settings = prepare_data(dataset, config), config.train
    (mean,), (std,) = data.normalization.mean, data.normalization.std
    images, labels = channels_first(data.x_train[:]), torch.from_numpy(data.y_train).long()
    test_images = normalize(channels_first(dataset.x_test), mean, std)
    steps = len(images) // settings.batch_size
    schedule = learning_rate_schedule(settings, steps)
    every_step = np.arange(settings.epochs * steps + 1)
    rates = np.asarray(schedule(every_step)).tolist()  # precomputed, as JAX computes the schedule

    started, evaluation_seconds = time.perf_counter(), 0.0
    model = _model(config)
    optimizers = _make_optimizers(model, settings.weight_decay)
    schedulers = [
        torch.optim.lr_scheduler.LambdaLR(optimizer, rates.__getitem__) for optimizer in optimizers
    ]
    accuracy, ended, epoch = 0.0, "recipe", 0
    while epoch < settings.epochs and ended == "recipe":
        for chosen in torch.randperm(len(images))[: steps * settings.batch_size].split(
            settings.batch_size
        ):
            batch = normalize(random_shift(images[chosen], settings.augment.shift), mean, std)
            loss = functional.cross_entropy(
                model(batch), labels[chosen], label_smoothing=settings.label_smoothing
            )
            model.zero_grad()
            loss.backward()
            if settings.grad_clip:
                torch.nn.utils.clip_grad_norm_(model.parameters(), settings.grad_clip)
            for optimizer, scheduler in zip(optimizers, schedulers, strict=True):
                optimizer.step()
                scheduler.step()
        epoch += 1
        evaluation_started = time.perf_counter()
        accuracy = measure_accuracy(model, test_images, dataset.y_test)
        evaluation_seconds += time.perf_counter() - evaluation_started
        if accuracy >= TARGET:
            ended = "target"
        elif time.perf_counter() - started - evaluation_seconds > limit:
            ended = "limit"
    seconds = time.perf_counter() - started - evaluation_seconds
    return TrainingResult(seconds, 0.0, epoch, count_parameters(model), accuracy, ended)


def random_shift(images: torch.Tensor, max_shift: int) -> torch.Tensor:
    """Translate each image at random, as vit_hk.training.augment does.

    Args:
      images: uint8 [B, 1, height, width].
      max_shift: maximum translation in pixels.
    """
    count, _, height, width = images.shape
    padded = functional.pad(images, [max_shift] * 4)[:, 0]
    down, right = torch.randint(0, 2 * max_shift + 1, (2, count, 1))
    rows, columns = down + torch.arange(height), right + torch.arange(width)
    which = torch.arange(count)[:, None, None]
    return padded[which, rows[:, :, None], columns[:, None, :]][:, None]


def _model(config: Config) -> torch.nn.Module:
    s = config.model
    model = make_model(
        Workload(
            task="train",
            batch_size=config.train.batch_size,
            patch_size=s.patch_size,
            hidden_size=s.hidden_size,
            num_layers=s.num_layers,
            mlp_dim=s.mlp_dim,
            num_heads=s.num_heads,
        )
    )
    model.patch_embed.proj = _stem(s.patch_size, s.hidden_size)
    return model


def _stem(patch_size: int, hidden_size: int) -> torch.nn.Sequential:
    """Build the modules of vit_hk.model.stem and of the projection of patches after it."""
    layers, modules, channels = stem_layers("conv", patch_size, hidden_size), [], 1
    for layer in layers:
        modules += [
            torch.nn.Conv2d(channels, layer.channels, KERNEL_SIZE, layer.stride, padding=1),
            torch.nn.GELU(),
        ]
        channels = layer.channels
    side = patch_size // math.prod(layer.stride for layer in layers)
    return torch.nn.Sequential(*modules, torch.nn.Conv2d(channels, hidden_size, side, side))


def _make_optimizers(model: torch.nn.Module, weight_decay: float) -> list[torch.optim.Optimizer]:
    """Make Muon for the matrices of the blocks, and AdamW for all other parameters."""
    others = dict(model.named_parameters())
    names = [name for name, x in others.items() if name.startswith("blocks.") and x.ndim == 2]
    matrices = [others.pop(name) for name in names]
    muon = torch.optim.Muon(
        matrices, lr=1.0, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"
    )
    return [muon, make_adamw(others.items(), 1.0, weight_decay)]


def _check(config: Config) -> None:
    """Check that this module implements all settings of the recipe."""
    model, train = config.model.model_dump(), config.train.model_dump()
    supported = {f"model.{key}": (model[key], value) for key, value in SUPPORTED_MODEL.items()}
    supported |= {f"train.{key}": (train[key], value) for key, value in SUPPORTED_TRAINING.items()}
    augment = config.train.augment.model_dump()
    supported |= {f"train.augment.{k}": (v, 0) for k, v in augment.items() if k != "shift"}
    for key, (found, allowed) in supported.items():
        if found != allowed:
            raise UserError(
                f"{RECIPE}: {key} is {found}, benchmarks/recipes/timm.py supports only {allowed}; "
                "change it in this file"
            )
