"""This project's model, with the training step of stages/train.py and its predictor."""

from collections.abc import Callable

from benchmarks.contenders import Job
from benchmarks.contenders.images import random_images
from benchmarks.recipes.settings import DEFAULT
from benchmarks.workload import (
    LEARNING_RATE,
    MAX_NORM,
    MEAN,
    PLAIN,
    STD,
    WEIGHT_DECAY,
    Workload,
)
from vit_hk.data.normalization import Normalization
from vit_hk.inference import make_predictor
from vit_hk.model.size import count_parameters
from vit_hk.model.vit import init_params, make_model
from vit_hk.params import Config, load_config
from vit_hk.runtime.batch_layout import layout_for_inference
from vit_hk.runtime.devices import configure_cpu
from vit_hk.training.data import TrainingData, epoch_order
from vit_hk.training.feed import InMemoryFeed
from vit_hk.training.train_step import build_train_step


def make(work: Workload) -> Job:
    """Make a job of this project's model."""
    configure_cpu()  # as all stages do
    config = settings_of(work)
    run = make_training(config, work) if work.task == "train" else _infer(config, work)
    return Job(run, num_parameters(config, work))


def num_parameters(config: Config, work: Workload) -> int:
    """Return the number of learned parameters."""
    shape = work.image_size, work.image_size, work.channels
    return count_parameters(config.model, shape, work.num_classes)


def normalization_of(work: Workload) -> Normalization:
    """Return the normalization that all contenders share, for each channel."""
    return Normalization((MEAN,) * work.channels, (STD,) * work.channels)


def settings_of(work: Workload) -> Config:
    """Return the default settings with the plain model and recipe of all contenders."""
    settings = load_config(DEFAULT).model_dump()
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
        "learning_rate": LEARNING_RATE,
        "weight_decay": WEIGHT_DECAY,
        "grad_clip": MAX_NORM,
        "augment": {
            name: type(value)()  # 0 or False, which is off
            for name, value in settings["train"]["augment"].items()
        },
        "precision": work.precision,
    }
    return Config.model_validate(settings)


def make_training(config: Config, work: Workload) -> Callable[[int], None]:
    """Return a function that takes a number of training steps, on any device."""
    images, labels = random_images(work)
    data = TrainingData(images, labels, images[:0], labels[:0], normalization_of(work))
    step = build_train_step(config, data, work.num_classes)
    feed = InMemoryFeed(data, step.layout, step.steps_per_epoch, calls_per_epoch=1)
    run_steps = step.make_loop(feed)
    weights = init_params(config.model, images.shape[1:], work.num_classes, config.seed)
    state = step.init_state(weights)

    def run(count: int) -> None:
        nonlocal state
        done = int(state.step)
        end = done + count
        while done < end:  # a call must not go beyond the end of an epoch
            epoch = done // step.steps_per_epoch
            start, done = done, min(end, (epoch + 1) * step.steps_per_epoch)
            order = epoch_order(config.seed, epoch, len(images))
            (call,) = feed.calls(order, [(start, done)])
            state, is_finite = run_steps(state, call)
            if not is_finite:
                raise FloatingPointError("the training of the benchmark diverged")

    return run


def _infer(config: Config, work: Workload) -> Callable[[int], None]:
    images, _ = random_images(work)
    weights = init_params(config.model, images.shape[1:], work.num_classes, config.seed)
    model = make_model(config.model, work.num_classes)
    layout = layout_for_inference(work.batch_size, work.num_tokens, work.hidden_size)
    predict = make_predictor(model, normalization_of(work), layout)

    def run(count: int) -> None:
        predict(weights, images[: count * work.batch_size])

    return run
