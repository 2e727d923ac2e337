"""Training: `train_step.py` is the update, `loop.py` the epochs, `checkpoint.py` what is saved."""
