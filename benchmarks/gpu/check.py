"""Compare logits and gradients of the GPU with those of the CPU, and print them as JSON.

The argument is a workload in JSON. float32 products are exact here, not rounded to TF32.
"""

import json
import math
import sys
from typing import Any

import jax
import numpy as np
import optax
from jax.flatten_util import ravel_pytree

from benchmarks.contenders.images import random_images
from benchmarks.contenders.ours import normalization_of, settings_of
from benchmarks.workload import Workload
from vit_hk.inference import run_model
from vit_hk.model.vit import make_model, parameter_shapes
from vit_hk.params import Precision

MAX_LOGIT_ERROR = 1e-4  # of any float32 logit; logits have a standard deviation of about 1
MAX_GRADIENT_DISTANCE = 1e-3  # of the float32 gradient from the CPU's, as below
# Of all bfloat16 logits, or gradients, together: the length of the difference from float32 divided
# by the length. bfloat16 has 8 bits, a rounding error of 0.4 %, and a model rounds in each layer.
MAX_BFLOAT16_DISTANCE = {"logits": 0.05, "gradient": 0.1}

LogitsAndGradient = tuple[np.ndarray, np.ndarray]  # float32 [B, C] and [num_params]


def main() -> None:
    """Print the errors of the workload that the first argument describes, as JSON."""
    work = Workload(**json.loads(sys.argv[1]))
    jax.config.update("jax_default_matmul_precision", "highest")
    print(json.dumps(check(work)))


def check(work: Workload) -> dict[str, Any]:
    """Return the errors of the first device, and whether they are within the tolerances."""
    cpu, device = jax.devices("cpu")[0], jax.devices()[0]
    expected = compute(work, "float32", cpu)
    full, low = (compute(work, precision, device) for precision in ("float32", "bfloat16"))
    return {"batch_size": work.batch_size} | judge(expected, full, low)


def judge(
    expected: LogitsAndGradient, float32: LogitsAndGradient, bfloat16: LogitsAndGradient
) -> dict[str, Any]:
    """Return the errors of results in both precisions, and whether they are small enough."""
    error = float(np.abs(float32[0] - expected[0]).max())
    gradient_distance = _distance(float32[1], expected[1])
    distances = {
        "logits": _distance(bfloat16[0], expected[0]),
        "gradient": _distance(bfloat16[1], expected[1]),
    }
    is_close = all(distances[name] <= limit for name, limit in MAX_BFLOAT16_DISTANCE.items())
    return {
        "float32_logit_error": _finite_or_none(error),
        "float32_gradient_distance": _finite_or_none(gradient_distance),
        "bfloat16_distances": {name: _finite_or_none(x) for name, x in distances.items()},
        # A NaN is not below any limit.
        "passed": error <= MAX_LOGIT_ERROR
        and gradient_distance <= MAX_GRADIENT_DISTANCE
        and is_close,
        "max_float32_logit_error": MAX_LOGIT_ERROR,
        "max_float32_gradient_distance": MAX_GRADIENT_DISTANCE,
        "max_bfloat16_distances": MAX_BFLOAT16_DISTANCE,
    }


def compute(work: Workload, precision: Precision, device: jax.Device) -> LogitsAndGradient:
    """Return the logits, and the gradient of the cross-entropy, of random images and weights."""
    settings, normalization = settings_of(work).model, normalization_of(work)
    model = make_model(settings, work.num_classes, precision)
    images, labels = random_images(work)
    images, labels = images[: work.batch_size], labels[: work.batch_size]
    weights = _random_weights(parameter_shapes(model, images.shape[1:]))

    def loss(weights: Any, images: jax.Array) -> tuple[jax.Array, jax.Array]:
        logits = run_model(model, weights, images, normalization).logits
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        return losses.mean(), logits

    with jax.default_device(device):
        gradient, logits = jax.jit(jax.grad(loss, has_aux=True))(weights, images)
    return np.asarray(logits), np.asarray(ravel_pytree(jax.device_get(gradient))[0])


def _random_weights(shapes: Any) -> Any:
    """Draw weights with which activations keep their size; those of the head are 0 at first."""
    random = np.random.default_rng(0)

    def draw(path: Any, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        if path[-1].key == "scale":
            return np.ones(leaf.shape, np.float32)
        std = leaf.shape[0] ** -0.5 if path[-1].key == "w" else 0.02
        return random.normal(0, std, leaf.shape).astype(np.float32)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def _distance(actual: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(actual - expected) / np.linalg.norm(expected))


def _finite_or_none(number: float) -> float | None:
    """Return a number that JSON can hold."""
    return number if math.isfinite(number) else None


if __name__ == "__main__":
    main()
