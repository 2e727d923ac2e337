"""Our training, as stages/train.py runs it; the test images are read once, at its end."""

import time

from benchmarks.recipes import TrainingResult
from benchmarks.recipes.settings import load_mnist, load_recipe
from vit_hk.inference import make_predictor
from vit_hk.model.size import count_parameters
from vit_hk.model.vit import make_model
from vit_hk.runtime.batch_layout import layout_for_inference
from vit_hk.runtime.devices import configure_cpu
from vit_hk.training.data import prepare_data
from vit_hk.training.loop import train

BATCH_SIZE = 500  # of the test


def run(seed: int, limit: float) -> TrainingResult:  # noqa: ARG001 the limit is for the peers
    """Train to the end of the recipe."""
    config, dataset = load_recipe(seed), load_mnist()
    data = prepare_data(dataset, config)
    configure_cpu()  # as stages/train.py does
    # No checkpoints, and no compilation cache, which JAX uses only when it is configured.
    started = time.perf_counter()
    trained = train(config, data, dataset.num_classes)
    seconds = time.perf_counter() - started
    model = make_model(config.model, dataset.num_classes)
    num_tokens = config.model.num_tokens(dataset.image_shape)
    layout = layout_for_inference(BATCH_SIZE, num_tokens, config.model.hidden_size)
    predict = make_predictor(model, data.normalization, layout)
    predicted = predict(trained.params, dataset.x_test).argmax(axis=1)
    return TrainingResult(
        seconds,
        trained.timing.compile_seconds,
        len(trained.history),
        count_parameters(config.model, dataset.image_shape, dataset.num_classes),
        float((predicted == dataset.y_test).mean()),
        "recipe",
    )
