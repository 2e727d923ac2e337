"""Memory that a model and its batch need, told before it is taken or when it is not there."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import jax

from vit_hk.errors import UserError
from vit_hk.model.stem import stem_layers
from vit_hk.params import ModelSettings

MEMINFO = Path("/proc/meminfo")
# Of a container: its limit and its use, in bytes.
CGROUP = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current"))
FLOAT = 4  # bytes


def check_prediction_fits(settings: ModelSettings, num_patches: int, num_images: int) -> None:
    """Compare what images take at the very least, in their largest layer, with what is free.

    Linux hands out memory that is not there and later kills who uses it, without a word. So the
    most that can be foreseen is asked for before.

    Raises:
      MemoryError: it is more. Where the system does not say what is free, nothing is raised.
    """
    attention = _attention_bytes(settings, num_patches, num_images)
    _check_fits(max(attention, _stem_bytes(settings, num_patches, num_images)))


def check_training_fits(
    settings: ModelSettings, num_patches: int, num_images: int, num_parameters: int, remat: bool
) -> None:
    """The same for training: what is kept for the gradient, and the weights.

    Kept is the attention of all layers, which is float32 also where products are bfloat16; with
    `remat` the tokens before each layer, and the attention of one. Of a weight there are four
    numbers: itself, its gradient and AdamW's two moments.

    Raises:
      MemoryError: it is more than is free.
    """
    attention = _attention_bytes(settings, num_patches, num_images)
    # With pool "cls" the last layer keeps that of the class token only.
    full_layers = settings.num_layers - (settings.pool == "cls")
    if remat:
        tokens = num_images * settings.num_tokens(num_patches)
        kept = full_layers * FLOAT * tokens * settings.hidden_size + min(1, full_layers) * attention
    else:
        kept = full_layers * attention
    kept += _stem_bytes(settings, num_patches, num_images)
    _check_fits(kept + 4 * FLOAT * num_parameters)


def _attention_bytes(settings: ModelSettings, num_patches: int, batch_size: int) -> int:
    """Of one layer: float32 [batch, heads, tokens, tokens]."""
    return FLOAT * batch_size * settings.num_heads * settings.num_tokens(num_patches) ** 2


def _stem_bytes(settings: ModelSettings, num_patches: int, batch_size: int) -> int:
    """Of what the first convolution makes: float32 [batch, rows, columns, channels]."""
    if settings.stem == "linear":
        return 0
    first = stem_layers(settings.patch_size, settings.hidden_size)[0]
    pixels = num_patches * (settings.patch_size // first.stride) ** 2
    return FLOAT * batch_size * pixels * first.channels


def _check_fits(needed: int) -> None:
    free = free_bytes(jax.devices()[0])
    if free is not None and needed > free:
        raise MemoryError(
            f"at least {needed / 2**30:,.1f} GiB are needed, {free / 2**30:,.1f} GiB are free"
        )


def free_bytes(device: jax.Device) -> int | None:
    """Memory that a device can still give, or None where it does not say."""
    if statistics := device.memory_stats():  # a GPU
        return statistics["bytes_limit"] - statistics["bytes_in_use"]
    found = []
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = MEMINFO.read_text("ascii").splitlines()
        available = next(line for line in lines if line.startswith("MemAvailable:"))
        found.append(1024 * int(available.split()[1]))
    with contextlib.suppress(OSError, ValueError):  # "max" is no number: no limit
        limit, used = (int(path.read_text("ascii")) for path in CGROUP)
        found.append(limit - used)
    return min(found, default=None)


@contextlib.contextmanager
def enough_memory(*settings: str) -> Iterator[None]:
    """Turn a lack of memory inside the block into a UserError; also a decorator.

    Args:
      settings: keys of params.yaml to lower, beside those of the model.
    """
    try:
        yield
    except MemoryError as error:
        problem = str(error) or "allocation failed"
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        problem = str(error).splitlines()[0]
    else:
        return
    keys = ", ".join([*settings, "model.hidden_size", "model.mlp_dim", "model.num_layers"])
    raise UserError(
        f"not enough memory ({problem}); lower in params.yaml: {keys}, or raise model.patch_size"
    )
