"""Test accuracy of the PyTorch models, measured after each epoch."""

import numpy as np
import torch


def measure_accuracy(model: torch.nn.Module, images: torch.Tensor, labels: np.ndarray) -> float:
    """Return the accuracy on normalized images float32 [images, 1, height, width]."""
    model.eval()
    with torch.inference_mode():
        predicted = torch.cat([model(batch).argmax(dim=1) for batch in images.split(500)])
    model.train()
    return float((predicted.numpy() == labels).mean())
