"""Data sets: the NPZ that all stages read, its splits and its normalization; sources/ makes it."""
