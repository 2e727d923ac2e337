"""The ViT of Hugging Face's transformers."""

import torch

from benchmarks.contenders import Job
from benchmarks.contenders.torch_job import make_job
from benchmarks.workload import LAYER_NORM_EPS, Workload

# isort: split
from transformers import ViTConfig, ViTForImageClassification


class LogitsModel(ViTForImageClassification):
    """A model that returns the logits alone, as those of the other contenders do."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits [B, C] of images [B, channels, height, width]."""
        return super().forward(images).logits


def make(work: Workload) -> Job:
    """Make a job of the same architecture as ours, with fused attention, its default."""
    config = ViTConfig(
        image_size=work.image_size,
        patch_size=work.patch_size,
        num_channels=work.channels,
        num_labels=work.num_classes,
        hidden_size=work.hidden_size,
        num_hidden_layers=work.num_layers,
        num_attention_heads=work.num_heads,
        intermediate_size=work.mlp_dim,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        layer_norm_eps=LAYER_NORM_EPS,
    )
    return make_job(LogitsModel(config), work)
