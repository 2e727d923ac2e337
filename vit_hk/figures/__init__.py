"""Matplotlib figures drawn from arrays and tables; nothing here imports JAX."""

import os

# Every figure is written to a file, so no window is needed. matplotlib refuses to start when this
# variable names a backend that it does not know, whatever the user's environment has set.
os.environ["MPLBACKEND"] = "agg"

import matplotlib

# A user's matplotlibrc may choose other fonts, or LaTeX, which cannot typeset every class name.
matplotlib.rcdefaults()
# A dollar sign in a class name is a dollar sign, and no mathematics.
matplotlib.rcParams["text.parse_math"] = False
