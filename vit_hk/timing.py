"""Writes results/timing.json, the measured durations and rates of stages.

It is kept in Git and is no output of a stage: an output that differs from run to run would change
dvc.lock with each run of the same pipeline.
"""

import json
from pathlib import Path

from vit_hk.atomic import replacing


def record_timing(path: Path, stage: str, measurements: dict[str, float]) -> None:
    """Replace the measurements of one stage, in seconds or images per second; keep the others."""
    try:
        timing = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        timing = None
    if not isinstance(timing, dict):  # missing or damaged: no result depends on it, so start again
        timing = {}
    timing[stage] = {name: round(value, 3) for name, value in measurements.items()}
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(timing, indent=2, sort_keys=True) + "\n", "utf-8")
