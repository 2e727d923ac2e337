"""The metrics of the run that weights come from."""

import hashlib
import json
from pathlib import Path
from typing import Any

import yaml

MAX_LOCK_BYTES = 10_000_000


def find_metrics(weights: Path) -> dict[str, Any] | None:
    """Return results/metrics.json of a project whose models/ holds these weights.

    dvc.lock records of which weights the stage `evaluate` has computed which metrics. Where it says
    something else about either file, or there is no such project, the result is None.
    """
    project = weights.absolute().parent.parent  # weights may be a link into DVC's cache
    metrics = project / "results/metrics.json"
    try:
        lock = (project / "dvc.lock").read_bytes()
        if len(lock) > MAX_LOCK_BYTES:
            return None
        stage = yaml.safe_load(lock)["stages"]["evaluate"]
        recorded = {entry["path"]: entry["md5"] for entry in [*stage["deps"], *stage["outs"]]}
        if recorded[f"models/{weights.name}"] != _md5(weights):
            return None
        if recorded["results/metrics.json"] != _md5(metrics):
            return None
        return dict(json.loads(metrics.read_text("utf-8")))
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return None


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
