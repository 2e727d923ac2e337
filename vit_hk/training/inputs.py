"""The inputs of a training: what its results depend on, and what DVC records with them."""

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

from vit_hk.errors import UserError
from vit_hk.params import Config, load_config
from vit_hk.training.code_identity import PROJECT, read_code


class TrainingInputs(NamedTuple):
    """The settings of a training, and the hashes of the files it reads; None: no such file."""

    platform: str
    settings: dict[str, Any]  # those that its results depend on
    data: str | None
    init_from: str | None  # of the weights file that it starts from
    code: str | None  # of all its files together


def read_inputs(config: Config, dataset: Path, code: str | None) -> TrainingInputs:
    """Return the inputs of a training.

    A file that cannot be read counts as missing, since the functions that use it say more.

    Args:
      config: all settings. How often the state is saved is no input, and of the weights file that
        the training starts from the content is, but not the name.
      dataset: the NPZ file.
      code: the hash of the code.
    """
    train = config.train
    return TrainingInputs(
        platform=config.platform,
        settings=config.model_dump(
            include={"seed", "model", "train"},
            exclude={"train": {"checkpoint_steps", "init_from"}},
        ),
        data=_hash_file(dataset),
        init_from=_hash_file(Path(train.init_from)) if train.starts_from_file else None,
        code=code,
    )


def check_unchanged(before: TrainingInputs, dataset: Path) -> None:
    """Compare the inputs that a training has used with those that there are now.

    DVC reads them after the stage has ended, and would record these results for what it finds then.

    Args:
      before: the inputs that the training has used.
      dataset: the NPZ file.

    Raises:
      UserError: they differ; the message says which.
    """
    try:
        config = load_config()
    except UserError:
        changed = ["params.yaml"]
    else:
        now = read_inputs(config, dataset, _hash_code_now())
        names = {
            "params.yaml": (before.platform, before.settings) != (now.platform, now.settings),
            str(dataset): before.data != now.data,
            f"train.init_from ({config.train.init_from}) or the content of that file": (
                before.init_from != now.init_from
            ),
            "the code of the stage train": before.code != now.code,
        }
        changed = [name for name, differs in names.items() if differs]
    if changed:
        raise UserError(
            f"changed during the training: {', '.join(changed)}; DVC would record its results for "
            "what is there now; undo the change (see: git diff) and get them at once with: dvc "
            "repro"
        )


def _hash_code_now() -> str | None:
    """Return the hash of the code, or None where it cannot be read."""
    try:
        return read_code(PROJECT, "train").hash
    except (OSError, UserError):
        return None


def _hash_file(path: Path) -> str | None:
    """Return the SHA-256 of the content of a file, or None where it cannot be read."""
    try:
        if not path.is_file():  # a named pipe would wait for ever
            return None
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None
