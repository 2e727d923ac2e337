"""Matplotlib figures drawn from arrays and tables; nothing here imports JAX."""

import os

# Every figure is written to a file, so no window is needed. matplotlib refuses to start when this
# variable names a backend that it does not know, whatever the user's environment has set.
os.environ["MPLBACKEND"] = "agg"
