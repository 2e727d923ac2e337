"""The ViT of vit-pytorch (lucidrains)."""

from benchmarks.contenders import Job
from benchmarks.contenders.torch_job import make_job
from benchmarks.workload import Workload

# isort: split
from vit_pytorch import ViT


def make(work: Workload) -> Job:
    """Make a job of the architecture that is closest to ours among its options."""
    model = ViT(
        image_size=work.image_size,
        patch_size=work.patch_size,
        num_classes=work.num_classes,
        dim=work.hidden_size,
        depth=work.num_layers,
        heads=work.num_heads,
        mlp_dim=work.mlp_dim,
        channels=work.channels,
        dim_head=work.hidden_size // work.num_heads,
    )
    return make_job(
        model, work, "LayerNorm before and after the patch embedding, no bias of q, k and v"
    )
