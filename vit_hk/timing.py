"""Writes and reads results/timing.json, the measured durations and rates of stages.

It is kept in Git and is no output of a stage: an output that differs from run to run would change
dvc.lock with each run of the same pipeline. It may be older than the results, for example where
DVC restored them from its cache. So each stage records the digest of the weights that it measured
with.
"""

import json
import sys
from pathlib import Path
from typing import Any

from vit_hk.atomic import replacing

WEIGHTS = "weights"  # key of the digest


def record_timing(path: Path, stage: str, weights: str, measurements: dict[str, float]) -> None:
    """Replace the measurements of one stage; keep the others.

    Args:
      path: results/timing.json.
      stage: the name of the stage.
      weights: the `weights_digest` of the weights that it wrote or ran.
      measurements: seconds, or images per second, by name.
    """
    timing = _read(path)
    rounded = {name: round(value, 3) for name, value in measurements.items()}
    timing[stage] = {WEIGHTS: weights, **rounded}
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(timing, indent=2, sort_keys=True) + "\n", "utf-8")


def read_timing(path: Path, weights: str) -> dict[str, dict[str, float]]:
    """Return the measurements of the stages that were measured with these weights.

    Args:
      path: results/timing.json.
      weights: the `weights_digest` of a run.

    Returns:
      By stage and by name; stages that were measured with other weights are left out.
    """
    return {
        stage: {name: value for name, value in record.items() if _is_measurement(value)}
        for stage, record in _read(path).items()
        if isinstance(record, dict) and record.get(WEIGHTS) == weights
    }


def _read(path: Path) -> dict[str, Any]:
    try:
        timing = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}  # missing or damaged: no result depends on it
    return timing if isinstance(timing, dict) else {}


def _is_measurement(value: object) -> bool:
    return isinstance(value, int | float) and 0 < value < sys.float_info.max and value is not True
