"""This project's model, with the compiled loop of stages/train.py and the predictor."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from benchmarks.contenders import Job
from benchmarks.contenders.images import random_images
from benchmarks.workload import (
    LARGEST_NORM,
    LEARNING_RATE,
    MEAN,
    NUM_CLASSES,
    PLAIN,
    STD,
    WEIGHT_DECAY,
    Workload,
)
from vit_hk.division import divide_for_prediction, divide_for_step, make_each_core_a_device
from vit_hk.freed_memory import keep_freed_memory
from vit_hk.inference import make_predictor
from vit_hk.model.vit import count_parameters, make_model
from vit_hk.params import Params, load_params
from vit_hk.training.loop import init_params
from vit_hk.training.optimizer import decay_mask, learning_rate_schedule, make_optimizer
from vit_hk.training.pieces import Split
from vit_hk.training.step import epoch_order, init_state, make_run_steps


def make(work: Workload) -> Job:
    """Our model at its task."""
    keep_freed_memory()  # both as all stages do
    make_each_core_a_device()
    params = _settings(work)
    shape = (work.image_size, work.image_size, 1)
    run = _train(params, work) if work.task == "train" else _infer(params, work)
    return Job(run, count_parameters(params.model, shape, NUM_CLASSES))


def _settings(work: Workload) -> Params:
    """Those of params.yaml, with the plain model and recipe that all contenders share."""
    settings = load_params().model_dump()
    settings["model"] |= {
        "patch_size": work.patch_size,
        "hidden_size": work.hidden_size,
        "num_layers": work.num_layers,
        "num_heads": work.num_heads,
        "mlp_dim": work.mlp_dim,
        **PLAIN,
    }
    settings["train"] |= {
        "batch_size": work.batch_size,
        "optimizer": "adamw",
        "learning_rate": LEARNING_RATE,
        "weight_decay": WEIGHT_DECAY,
        "label_smoothing": 0.0,
        "grad_clip": LARGEST_NORM,
        "sam_rho": 0.0,
        "ema_decay": 0.0,
        "augment": dict.fromkeys(settings["train"]["augment"], 0),
        "precision": "float32",
        "scan_layers": False,
        "remat": False,
    }
    return Params.model_validate(settings)


def _train(params: Params, work: Workload) -> Callable[[int], None]:
    images, labels = random_images(work)
    steps_per_epoch = len(images) // work.batch_size
    weights = init_params(params, images.shape[1:], NUM_CLASSES)
    flat, unravel = ravel_pytree(weights)
    schedule = learning_rate_schedule(params.train, steps_per_epoch)
    optimizer = make_optimizer(params.train, schedule, decay_mask(weights), unravel)
    state = jax.jit(lambda flat: init_state(flat, optimizer, params.train))(flat)
    division = divide_for_step(work.batch_size, work.num_tokens)
    state, split = jax.device_put((state, Split(images, labels)), division.everywhere)
    model = make_model(params.model, NUM_CLASSES)
    run_steps = make_run_steps(
        model, unravel, optimizer, params.train, steps_per_epoch, [MEAN], [STD], params.seed,
        division,
    )  # fmt: skip

    def run(count: int) -> None:
        nonlocal state
        done = int(state.step)
        end = done + count
        while done < end:  # a call must not go beyond the end of an epoch
            epoch = done // steps_per_epoch
            done = min(end, (epoch + 1) * steps_per_epoch)
            order = epoch_order(params.seed, epoch, len(images))
            state, finite = run_steps(state, split, order, jnp.int32(done))
            if not finite:
                raise FloatingPointError("the training of the benchmark blew up")

    return run


def _infer(params: Params, work: Workload) -> Callable[[int], None]:
    images, _ = random_images(work)
    weights = init_params(params, images.shape[1:], NUM_CLASSES)
    model = make_model(params.model, NUM_CLASSES)
    division = divide_for_prediction(work.batch_size, work.num_tokens)
    predict = make_predictor(model, [MEAN], [STD], division)

    def run(count: int) -> None:
        predict(weights, images[: count * work.batch_size])

    return run
