"""`make bench-gpu`: one GPU, checked against the CPU and timed next to timm; see `__main__.py`."""

import sys
from pathlib import Path

# What a machine that can fetch nothing lacks; `pack.py` fills both. The packed packages are for
# Python 3.12, and come before installed ones, which may be too old for each other.
PACKED = Path(__file__).parents[2] / ".scratch" / "gpu"
PACKED_PACKAGES, PACKED_DATASET = PACKED / "packages", PACKED / "mnist.npz"
if sys.version_info[:2] == (3, 12):
    sys.path.insert(0, str(PACKED_PACKAGES))
