"""Where a training keeps its state until it is finished: .scratch/train/<key>/.

DVC deletes a stage's outputs before it runs the stage, and leaves ignored folders alone.
So the state survives a killed `dvc repro`, and the next one finds it under the same key.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import jax
from filelock import FileLock, Timeout

from vit_hk.atomic import replacing
from vit_hk.errors import UserError
from vit_hk.params import Params

SCRATCH = Path(".scratch/train")
ROOM = Path(__file__).parents[1]  # vit_hk/
# What decides the bytes of a training; a change of a picture must not lose one.
CODE = [
    "dataset.py",
    "division.py",
    "evaluation.py",
    "explain",
    "inference.py",
    "model",
    "params.py",
    "training",
]
PACKAGES = ["dm-haiku", "jax", "jaxlib", "numpy", "optax", "orbax-checkpoint"]


def training_key(params: Params, dataset: Path, device: jax.Device) -> str:
    """16 hexadecimal digits: the same for trainings that end with the same bytes.

    Args:
      params: seed, model and train settings count.
      dataset: the NPZ, whose bytes count.
      device: its kind counts, and how many there are.
    """
    with dataset.open("rb") as file:
        data = hashlib.file_digest(file, "sha256").hexdigest()
    code = hashlib.sha256()
    for room in CODE:
        for path in sorted([*(ROOM / room).glob("*.py"), *ROOM.glob(room)]):
            if path.is_file():
                code.update(path.read_bytes())
    told = {
        "settings": params.model_dump(include={"seed", "model", "train"}),
        "data": data,
        "code": code.hexdigest(),
        "packages": {name: version(name) for name in PACKAGES},
        "devices": f"{jax.device_count()} x {device.platform} {device.device_kind}",
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def scratch_folder(key: str) -> Path:
    """The folder of a training, in the project that DVC names.

    Experiments that run in a copy of the project share it, so that none is lost with its copy.
    """
    return Path(os.environ.get("DVC_ROOT", ".")) / SCRATCH / key


@contextlib.contextmanager
def only_trainer(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder, which is made where it is missing.

    The system lets go of the lock when its process ends, however it ends.

    Raises:
      UserError: another process holds it, for example a training that outlived its dvc.
    """
    holder = folder / "process"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / "lock")
        lock.acquire(blocking=False)
    except Timeout:
        number = _read(holder)
        raise UserError(
            f"{folder} is in use by another training, process {number}; wait until it ends, or "
            f"stop it with: kill {number} (it keeps its state), then go on with: dvc repro"
        ) from None
    except OSError as error:
        raise UserError(f"{folder} could not be written: {error.strerror or error}") from error
    try:
        with replacing(holder) as temporary:
            temporary.write_text(str(os.getpid()), "utf-8")
        yield
    finally:
        lock.release()


def _read(holder: Path) -> str:
    try:
        return holder.read_text("utf-8")
    except (OSError, ValueError):
        return "unknown"
