"""Memory that a model and its batch need, told before it is taken or when it is not there."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import jax

from vit_hk.division import Division
from vit_hk.errors import UserError
from vit_hk.model.stem import stem_layers
from vit_hk.params import ModelSettings

MEMINFO = Path("/proc/meminfo")
# Of a container: its limit and its use in bytes, and what the use is made of.
CGROUP = Path("/sys/fs/cgroup")
FLOAT = 4  # bytes


def check_prediction_fits(settings: ModelSettings, num_patches: int, division: Division) -> None:
    """Compare what images take at the very least, in their largest layer, with what is free.

    Linux hands out memory that is not there and later kills who uses it, without a word. So the
    most that can be foreseen is asked for before.

    Raises:
      MemoryError: it is more. Where the system does not say what is free, nothing is raised.
    """
    images = division.images_at_a_time
    attention = _attention_bytes(settings, num_patches, images)
    _check_fits(max(attention, _stem_bytes(settings, num_patches, images)))


def check_training_fits(
    settings: ModelSettings,
    num_patches: int,
    division: Division,
    num_parameters: int,
    data_bytes: int,
    remat: bool,
) -> None:
    """The same for training: what is kept for the gradient, the weights, and the training images.

    Kept is the attention of all layers, which is float32 also where products are bfloat16; with
    `remat` the tokens before each layer, and the attention of one. Of a weight there are four
    numbers: itself, its gradient and AdamW's two moments. Each device has its own weights and all
    of the images.

    Raises:
      MemoryError: it is more than is free.
    """
    images = division.images_at_a_time
    attention = _attention_bytes(settings, num_patches, images)
    # With pool "cls" the last layer keeps that of the class token only.
    full_layers = settings.num_layers - (settings.pool == "cls")
    if remat:
        tokens = images * settings.num_tokens(num_patches)
        kept = full_layers * FLOAT * tokens * settings.hidden_size + min(1, full_layers) * attention
    else:
        kept = full_layers * attention
    kept += _stem_bytes(settings, num_patches, images)
    _check_fits(kept + division.sharing_memory * (4 * FLOAT * num_parameters + data_bytes))


def _attention_bytes(settings: ModelSettings, num_patches: int, images: int) -> int:
    """Of one layer: float32 [images, heads, tokens, tokens]."""
    return FLOAT * images * settings.num_heads * settings.num_tokens(num_patches) ** 2


def _stem_bytes(settings: ModelSettings, num_patches: int, images: int) -> int:
    """Of what the first convolution makes: float32 [images, rows, columns, channels]."""
    if settings.stem == "linear":
        return 0
    first = stem_layers(settings.patch_size, settings.hidden_size)[0]
    pixels = num_patches * (settings.patch_size // first.stride) ** 2
    return FLOAT * images * pixels * first.channels


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
    with contextlib.suppress(OSError, ValueError, KeyError):  # "max" is no number: no limit
        limit, used = (
            int((CGROUP / name).read_text("ascii")) for name in ("memory.max", "memory.current")
        )
        found.append(limit - used + _cached_bytes())
    return min(found, default=None)


def _cached_bytes() -> int:
    """What a container uses for copies of files, which it gives back when memory is short."""
    lines = (CGROUP / "memory.stat").read_text("ascii").splitlines()
    sizes = dict(line.split() for line in lines)
    return int(sizes["active_file"]) + int(sizes["inactive_file"])


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
