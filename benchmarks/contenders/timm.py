"""timm's VisionTransformer, eager and with torch.compile."""

import torch

from benchmarks.contenders import Job
from benchmarks.contenders.torch_job import make_job
from benchmarks.workload import Workload

# isort: split
from timm.models.vision_transformer import VisionTransformer


def make(work: Workload) -> Job:
    """Make a job of the eager model, with its fused attention."""
    return make_job(make_model(work), work)


def make_compiled(work: Workload) -> Job:
    """Make a job of the model compiled by torch.compile."""
    return make_job(torch.compile(make_model(work)), work)


def make_model(work: Workload) -> VisionTransformer:
    """Build a model of the same architecture as ours, with the same number of parameters."""
    return VisionTransformer(
        img_size=work.image_size,
        patch_size=work.patch_size,
        in_chans=work.channels,
        num_classes=work.num_classes,
        embed_dim=work.hidden_size,
        depth=work.num_layers,
        num_heads=work.num_heads,
        mlp_ratio=work.mlp_dim / work.hidden_size,
    )
