"""Training: `train_step.py` is the update, `loop.py` the epochs, `resume.py` the saved state."""
