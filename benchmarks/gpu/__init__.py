"""`make bench-gpu`: one GPU, checked against the CPU and timed next to timm; see `__main__.py`."""

import sys
from pathlib import Path

# What a machine that can fetch nothing lacks; `pack.py` fills both. Packages that are installed
# there come first.
PACKED = Path(__file__).parents[2] / ".scratch" / "gpu"
PACKED_PACKAGES, PACKED_DATASET = PACKED / "packages", PACKED / "mnist.npz"
sys.path.append(str(PACKED_PACKAGES))
