"""results/timing.json records how long stages took; it is kept in Git, but no output of a stage.

As an output it would change dvc.lock with each run of the same pipeline.
"""

import json
from pathlib import Path

from vit_hk.atomic import replacing


def record_timing(path: Path, stage: str, figures: dict[str, float]) -> None:
    """Replace the figures of one stage, in seconds or images per second, and keep the others."""
    try:
        timing = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        timing = None
    if not isinstance(timing, dict):  # missing or damaged; as a mere record it is started anew
        timing = {}
    timing[stage] = {name: round(value, 3) for name, value in figures.items()}
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(timing, indent=2, sort_keys=True) + "\n", "utf-8")
