"""Arrays in, matplotlib figures out. No JAX here."""
