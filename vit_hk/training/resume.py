"""The saved state of an unfinished training: .scratch/train/<fingerprint>/.

DVC deletes a stage's outputs before it runs the stage, and leaves ignored folders alone.
So the state survives a killed `dvc repro`, and the next one finds it by its fingerprint.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import jax
from filelock import FileLock, Timeout

from vit_hk.atomic import replacing
from vit_hk.errors import UserError
from vit_hk.params import Params
from vit_hk.runtime.devices import usable_cores
from vit_hk.training.code_identity import hash_code, package_versions, stage_code

SCRATCH = Path(".scratch/train")
PROJECT = Path(__file__).parents[2]  # the folder with the code that runs, and its dvc.yaml


def fingerprint(params: Params, dataset: Path, device: jax.Device, project: Path = PROJECT) -> str:
    """Return the identity of a training: equal for trainings that end with the same bytes.

    It depends on all that decides those bytes: the settings, the data, the code that dvc.yaml
    lists for the stage, the packages that this code needs, and the devices and cores.

    Args:
      params: the sections seed, model and train count.
      dataset: the NPZ file, whose content counts.
      device: one of the devices; its kind and their number count.
      project: the folder with dvc.yaml and the code.

    Returns:
      16 hexadecimal digits.
    """
    with dataset.open("rb") as file:
        data = hashlib.file_digest(file, "sha256").hexdigest()
    code = stage_code(project, "train")
    identity = {
        "settings": params.model_dump(include={"seed", "model", "train"}),
        "data": data,
        "code": hash_code(code),
        "packages": package_versions(code),
        "devices": f"{jax.device_count()} x {device.platform} {device.device_kind}",
        "cores": usable_cores(),
    }
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


def state_folder(fingerprint: str) -> Path:
    """Return the folder of a training's state, in the project that DVC names.

    Experiments that run in a copy of the project share it, so that no state is lost with a copy.
    """
    return Path(os.environ.get("DVC_ROOT", ".")) / SCRATCH / fingerprint


@contextlib.contextmanager
def exclusive_lock(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder, which is created where it is missing.

    The operating system releases the lock when its process ends, however it ends.

    Raises:
      UserError: another process holds it, for example a training that outlived its dvc.
    """
    holder = folder / "process"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / "lock")
        lock.acquire(blocking=False)
    except Timeout:
        pid = _read(holder)
        raise UserError(
            f"{folder} is in use by another training, process {pid}; wait until it ends, or "
            f"stop it with: kill {pid} (it keeps its state), then go on with: dvc repro"
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
