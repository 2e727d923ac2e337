"""Our training, as stages/train.py runs it. The test images are read once, at its end."""

import math
import time

from benchmarks.recipes import Finished
from benchmarks.recipes.settings import load_mnist, load_recipe
from vit_hk.division import divide_for_prediction, make_each_core_a_device
from vit_hk.freed_memory import keep_freed_memory
from vit_hk.inference import make_predictor
from vit_hk.model.vit import count_parameters, make_model
from vit_hk.training.data import prepare_data
from vit_hk.training.loop import train

BATCH_SIZE = 500  # of the test


def run(seed: int, limit: float) -> Finished:  # noqa: ARG001 it sets the limit of the others
    """Train to the end of the recipe."""
    params, dataset = load_recipe(seed), load_mnist()
    data = prepare_data(dataset, params)
    keep_freed_memory()  # both as stages/train.py does
    make_each_core_a_device()
    # No checkpoints, and nothing that an earlier run has compiled: JAX keeps that only when told.
    started = time.perf_counter()
    trained = train(params, data, dataset.num_classes)
    seconds = time.perf_counter() - started
    model = make_model(params.model, dataset.num_classes)
    tokens = params.model.num_tokens(math.prod(params.model.grid(*dataset.image_shape[:2])))
    predict = make_predictor(model, data.mean, data.std, divide_for_prediction(BATCH_SIZE, tokens))
    predicted = predict(trained.params, dataset.x_test).argmax(axis=1)
    return Finished(
        seconds,
        trained.timing.compile_seconds,
        len(trained.history),
        count_parameters(params.model, dataset.image_shape, dataset.num_classes),
        float((predicted == dataset.y_test).mean()),
        "recipe",
    )
