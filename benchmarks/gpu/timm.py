"""timm's VisionTransformer on a GPU, eager, compiled, and compiled with CUDA graphs.

Training and inference are those of `contenders/torch_job.py` with what is fast on a GPU: images in
its memory, normalization inside of the compiled function, automatic mixed precision. The forward
and the backward pass of the model are compiled; loss, clipping and AdamW run eagerly.
"""

import functools
import gc
import itertools
import os
from collections.abc import Callable, Iterator

import torch
from torch.nn import functional

from benchmarks.contenders import Job
from benchmarks.contenders.images import random_images
from benchmarks.contenders.timm import make_model
from benchmarks.contenders.torch_job import (
    channels_first,
    count_parameters,
    make_adamw,
    normalize,
)
from benchmarks.workload import LEARNING_RATE, MAX_NORM, WEIGHT_DECAY, Workload

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
if DEVICE == "cpu" and os.environ.get("JAX_PLATFORMS", "").startswith("cuda"):
    raise RuntimeError(f"torch {torch.__version__} sees no GPU, so it is no peer on one")
Forward = Callable[[torch.Tensor], torch.Tensor]


def make(work: Workload) -> Job:
    """Make a job of the eager model."""
    return _make_job(work, lambda forward: forward)


def make_compiled(work: Workload) -> Job:
    """Make a job of the model compiled by torch.compile."""
    return _make_job(work, torch.compile)


def make_cuda_graphs(work: Workload) -> Job:
    """Make a job of the compiled model whose operations one call starts, as a CUDA graph."""
    return _make_job(work, functools.partial(torch.compile, mode="reduce-overhead"))


def _make_job(work: Workload, compile_forward: Callable[[Forward], Forward]) -> Job:
    torch._dynamo.reset()  # the code of the job before this one
    gc.collect()
    if DEVICE == "cuda":
        torch.cuda.empty_cache()
    torch.set_float32_matmul_precision("high")  # TF32, as ours
    images, labels = random_images(work)
    images, labels = (x.to(DEVICE) for x in (channels_first(images), torch.from_numpy(labels)))
    model = make_model(work).to(DEVICE)

    def normalized_forward(batch: torch.Tensor) -> torch.Tensor:
        with torch.autocast(DEVICE, torch.bfloat16, enabled=work.precision == "bfloat16"):
            return model(normalize(batch))

    forward = compile_forward(normalized_forward)
    if work.task == "train":
        run = _train(model, forward, images, labels.long(), work.batch_size)
    else:
        run = _infer(model, forward, images[: work.batch_size])
    return Job(run, count_parameters(model))


def _train(
    model: torch.nn.Module,
    forward: Forward,
    images: torch.Tensor,
    labels: torch.Tensor,
    batch_size: int,
) -> Callable[[int], None]:
    model.train()
    optimizer = make_adamw(model.named_parameters(), LEARNING_RATE, WEIGHT_DECAY)
    order = _batches(len(images), batch_size)

    def run(count: int) -> None:
        for chosen in itertools.islice(order, count):
            optimizer.zero_grad()
            logits = forward(images[chosen])
            functional.cross_entropy(logits.float(), labels[chosen]).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_NORM)
            optimizer.step()
        _wait()

    return run


def _infer(model: torch.nn.Module, forward: Forward, batch: torch.Tensor) -> Callable[[int], None]:
    model.eval()

    def run(count: int) -> None:
        with torch.no_grad():  # of inference mode, CUDA graphs could not be used for training
            for _ in range(count):
                forward(batch)
        _wait()

    return run


def _batches(count: int, batch_size: int) -> Iterator[torch.Tensor]:
    """Yield indices of full batches forever, shuffled each epoch, in the GPU's memory."""
    while True:
        order = torch.randperm(count, device=DEVICE)
        yield from order[: count // batch_size * batch_size].split(batch_size)


def _wait() -> None:
    """Wait until the GPU has done all that was asked of it."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()
