"""The results of a run in one page: files in, HTML out. No JAX here."""
