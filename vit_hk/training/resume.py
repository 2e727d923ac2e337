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

STATE_ROOT = Path(".scratch/train")
WAITING = (
    "waiting-"  # start of the name of a file that a waiting process creates; its number follows
)
PROJECT = Path(__file__).parents[2]  # the folder with the code that runs, and its dvc.yaml


def fingerprint(params: Params, dataset: Path, device: jax.Device, project: Path = PROJECT) -> str:
    """Return the identity of a training; equal fingerprints mean results of the same bytes.

    It depends on all that determines those bytes: the settings, the data, the code that dvc.yaml
    lists for the stage, the packages that this code needs, and the devices and cores.

    Args:
      params: all settings; the sections seed, model and train are part of the fingerprint.
      dataset: the NPZ file, whose content is part of the fingerprint.
      device: one of the devices; its kind and their number are part of the fingerprint.
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
    """Return the folder of a training's state, in the project that the variable DVC_ROOT names.

    DVC runs some experiments in a temporary copy of the project; their state survives the copy.
    """
    return Path(os.environ.get("DVC_ROOT", ".")) / STATE_ROOT / fingerprint


@contextlib.contextmanager
def exclusive_lock(folder: Path, wait: bool = False) -> Iterator[None]:
    """Hold the lock of a folder, which is created where it is missing.

    The operating system releases the lock when its process ends, however it ends.

    Args:
      folder: the folder.
      wait: wait for a process that holds the lock, instead of raising an error. Such a process
        learns of it by `somebody_waits`.

    Raises:
      UserError: another process holds it, for example a training that outlived its dvc.
    """
    pid_file = folder / "process"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / "lock")
        _acquire(lock, folder, wait)
    except Timeout:
        pid = _read_pid(pid_file)
        raise UserError(
            f"{folder} is in use by another training, process {pid}; wait until it ends, or "
            f"stop it with: kill {pid} (it keeps its state), then go on with: dvc repro"
        ) from None
    except OSError as error:
        raise UserError(f"{folder} could not be written: {error.strerror or error}") from error
    try:
        with replacing(pid_file) as temporary:
            temporary.write_text(str(os.getpid()), "utf-8")
        yield
    finally:
        lock.release()


def _acquire(lock: FileLock, folder: Path, wait: bool) -> None:
    """Acquire a lock at once, or after its holder has released it.

    Raises:
      Timeout: another process holds it, and `wait` is False.
    """
    try:
        lock.acquire(blocking=False)
    except Timeout:
        if not wait:
            raise
        pid = _read_pid(folder / "process")
        print(f"process {pid} trains the same; waiting for it to take its result", flush=True)
        waiting = folder / f"{WAITING}{os.getpid()}"
        waiting.touch()
        try:
            lock.acquire()
        finally:
            waiting.unlink(missing_ok=True)


def somebody_waits(folder: Path) -> bool:
    """Return whether a living process waits for the lock of a folder."""
    pids = [int(path.name.removeprefix(WAITING)) for path in folder.glob(f"{WAITING}*")]
    return any(map(_is_alive, pids))


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it is another user's
        return True
    return True


def _read_pid(pid_file: Path) -> str:
    try:
        return pid_file.read_text("utf-8")
    except (OSError, ValueError):
        return "unknown"
