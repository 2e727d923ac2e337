"""The results of a run as figures and as one HTML page; nothing here imports JAX."""
