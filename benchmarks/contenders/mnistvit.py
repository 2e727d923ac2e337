"""mnistvit's VisionTransformer, built from PyTorch's own encoder layers."""

from benchmarks.contenders import Job
from benchmarks.contenders.torch_job import make_job
from benchmarks.workload import NUM_CLASSES, Workload

# isort: split
from mnistvit.model import VisionTransformer


def make(work: Workload) -> Job:
    """Make a job of the same architecture as ours, with a linear head in place of its MLP."""
    model = VisionTransformer(
        num_channels=1,
        input_sizes=[work.image_size, work.image_size],
        output_size=NUM_CLASSES,
        patch_size=work.patch_size,
        num_heads=work.num_heads,
        latent_size_multiplier=work.hidden_size // work.num_heads,
        num_layers=work.num_layers,
        encoder_size=work.mlp_dim,
        head_size=[],
    )
    return make_job(model, work)
