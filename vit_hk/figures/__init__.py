"""Arrays in, matplotlib figures out. No JAX here."""

import os

# All pictures go to files. matplotlib refuses to start where this names a backend that it does
# not know, and needs no other one.
os.environ["MPLBACKEND"] = "agg"
