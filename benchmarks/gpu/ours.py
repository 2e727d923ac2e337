"""This project's model on a GPU: the training step of stages/train.py, and its inference.

Images lie in the GPU's memory, so that the model is timed and not the way to it. Factors of
float32 products are rounded to TF32, JAX's default on a GPU, as for the peers. The project's own
stages and commands predict in float32; bfloat16 is a setting of the training.
"""

from collections.abc import Callable

import jax

from benchmarks.contenders import Job
from benchmarks.contenders.images import random_images
from benchmarks.contenders.ours import (
    make_training,
    normalization_of,
    num_parameters,
    settings_of,
)
from benchmarks.workload import Workload
from vit_hk.inference import run_model
from vit_hk.model.vit import init_params, make_model
from vit_hk.params import Config


def make(work: Workload) -> Job:
    """Make a job of this project's model."""
    jax.clear_caches()  # the code of the job before this one, and the arrays that it holds
    config = settings_of(work)
    run = make_training(config, work) if work.task == "train" else _infer(config, work)
    return Job(run, num_parameters(config, work))


def _infer(config: Config, work: Workload) -> Callable[[int], None]:
    images, _ = random_images(work)
    batch = jax.device_put(images[: work.batch_size])
    weights = init_params(config.model, images.shape[1:], work.num_classes, config.seed)
    model, normalization = (
        make_model(config.model, work.num_classes, work.precision),
        normalization_of(work),
    )
    predict = jax.jit(lambda weights, batch: run_model(model, weights, batch, normalization).logits)

    def run(count: int) -> None:
        for _ in range(count):
            logits = predict(weights, batch)
        logits.block_until_ready()

    return run
