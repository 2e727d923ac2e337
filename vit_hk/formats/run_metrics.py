"""The metrics of the run that weights come from."""

import functools
import hashlib
import json
from pathlib import Path
from typing import Any

import yaml

MD5 = functools.partial(hashlib.md5, usedforsecurity=False)
MAX_BYTES = 10_000_000  # of dvc.lock, and of the metrics


def find_metrics(weights: Path) -> dict[str, Any] | None:
    """Return results/metrics.json of a project whose models/ holds these weights.

    dvc.lock records of which weights the stage `evaluate` has computed which metrics. Where it says
    something else about either file, or there is no such project, the result is None.
    """
    project = weights.absolute().parent.parent  # weights may be a link into DVC's cache
    try:
        stage = yaml.safe_load(_read_small(project / "dvc.lock"))["stages"]["evaluate"]
        recorded = {entry["path"]: entry["md5"] for entry in [*stage["deps"], *stage["outs"]]}
        if recorded[f"models/{weights.name}"] != _md5(weights):
            return None
        content = _read_small(project / "results/metrics.json")
        if recorded["results/metrics.json"] != MD5(content).hexdigest():
            return None
        return dict(json.loads(content))
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return None


def _read_small(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(f"{path} is too large for what it should hold")
    return content


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, MD5).hexdigest()
