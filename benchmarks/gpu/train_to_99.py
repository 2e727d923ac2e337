"""Train the recipe of `make bench-99` on the GPU, and print the result as JSON.

The seconds are those of the whole training from random weights, with all compilation; the data are
in memory beforehand. The test images are read once, at the end.
"""

import dataclasses
import json
import sys
import time

from benchmarks.gpu import PACKED_DATASET
from benchmarks.recipes import TrainingResult
from benchmarks.recipes.settings import DATASET, TARGET, load_mnist, load_recipe
from vit_hk.errors import one_line_errors
from vit_hk.inference import make_predictor
from vit_hk.model.size import count_parameters
from vit_hk.model.vit import init_params, make_model
from vit_hk.runtime.batch_layout import layout_for_inference
from vit_hk.training.data import epoch_order, prepare_data
from vit_hk.training.feed import InMemoryFeed
from vit_hk.training.train_step import build_train_step

SEED = 0
BATCH_SIZE = 1000  # of the test


def main() -> None:
    """Train with one seed; the argument is the largest number of epochs."""
    result = dataclasses.asdict(run(SEED, int(sys.argv[1])))
    print(json.dumps(result | {"seed": SEED, "reached": result["test_accuracy"] >= TARGET}))


def run(seed: int, max_epochs: int) -> TrainingResult:
    """Train to the end of the recipe, or for fewer epochs, and measure the accuracy."""
    dataset = load_mnist(DATASET if DATASET.exists() else PACKED_DATASET)
    config = load_recipe(seed)
    data = prepare_data(dataset, config)
    num_classes, image_shape = dataset.num_classes, dataset.image_shape
    started = time.perf_counter()
    step = build_train_step(config, data, num_classes)
    feed = InMemoryFeed(data, step.layout, step.steps_per_epoch, calls_per_epoch=1)
    run_steps = step.compile(feed)
    state = step.init_state(init_params(config.model, image_shape, num_classes, seed))
    compile_seconds = time.perf_counter() - started
    epochs = min(max_epochs, config.train.epochs)
    for epoch in range(epochs):
        order = epoch_order(seed, epoch, len(data.x_train))
        first = epoch * step.steps_per_epoch
        (call,) = feed.calls(order, [(first, first + step.steps_per_epoch)])
        state, is_finite = run_steps(state, call)
        if not is_finite:
            raise FloatingPointError("the training diverged")
    weights = step.eval_params(state)
    seconds = time.perf_counter() - started
    num_tokens = config.model.num_tokens(image_shape)
    layout = layout_for_inference(BATCH_SIZE, num_tokens, config.model.hidden_size)
    model = make_model(config.model, num_classes)
    predicted = make_predictor(model, data.normalization, layout)(weights, dataset.x_test)
    return TrainingResult(
        seconds,
        compile_seconds,
        epochs,
        count_parameters(config.model, image_shape, num_classes),
        float((predicted.argmax(axis=1) == dataset.y_test).mean()),
        "recipe" if epochs == config.train.epochs else "limit",
    )


if __name__ == "__main__":
    with one_line_errors():
        main()
