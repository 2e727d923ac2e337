"""The training engine: augment, optimizer, step, loop."""
