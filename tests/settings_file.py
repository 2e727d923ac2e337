"""Settings that tests share, and a function that changes params.yaml."""

from pathlib import Path
from typing import Any

import yaml

AUGMENTATION_OFF = {
    "shift": 0,
    "flip": False,
    "rotate": 0.0,
    "scale": 0.0,
    "elastic": 0.0,
    "trivial": False,
    "erase": 0.0,
    "mixup": 0.0,
    "cutmix": 0.0,
}


AS_THEY_ARE: dict[str, Any] = {  # how images are prepared that already have one shape
    "image_size": None,
    "channels": None,
    "resize": "crop",
    "background": 0,
    "test_fraction": 0.2,
}


def change_settings(path: Path, changes: dict[str, Any]) -> None:
    """Set keys of a settings file; `train__epochs` stands for train.epochs."""
    tree = yaml.safe_load(path.read_text("utf-8"))
    for name, value in changes.items():
        *sections, key = name.split("__")
        section = tree
        for part in sections:
            section = section[part]
        section[key] = value
    path.write_text(yaml.safe_dump(tree, sort_keys=False), "utf-8")
