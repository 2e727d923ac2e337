"""The workloads of the benchmarks: sizes of the model, and settings that all contenders share."""

import dataclasses

from vit_hk.params import Precision

NUM_CLASSES = 10
NUM_IMAGES = 60_000  # as in MNIST's training set
MEAN, STD = 0.1307, 0.3081  # of MNIST's pixels, on the scale 0 to 1
LEARNING_RATE = 0.001
WEIGHT_DECAY = 0.05  # of weight matrices only
MAX_NORM = 1.0  # to which longer gradients are clipped
LAYER_NORM_EPS = 1e-6
# Keys of the section `model` in params.yaml of which the peers support a single value.
PLAIN = {
    "stem": "linear",
    "pool": "cls",
    "position": "learned",
    "dropout": 0.0,
    "drop_path": 0.0,
    "qk_norm": False,
    "registers": 0,
    "gelu": "erf",
    "norm_eps": LAYER_NORM_EPS,
}


@dataclasses.dataclass(frozen=True)
class Workload:
    """A task, a batch size, an architecture, and the precision of its matrix products."""

    task: str  # "train" or "infer"
    batch_size: int
    patch_size: int
    hidden_size: int
    num_layers: int
    mlp_dim: int
    num_heads: int = 4
    image_size: int = 28
    channels: int = 1
    num_classes: int = NUM_CLASSES
    precision: Precision = "float32"

    @property
    def num_patches(self) -> int:
        """The number of patches of an image, N."""
        return (self.image_size // self.patch_size) ** 2

    @property
    def num_tokens(self) -> int:
        """The number of tokens of an image, T: its patches and the class token."""
        return self.num_patches + 1


SIZES = {
    "S": {"patch_size": 7, "hidden_size": 64, "num_layers": 6, "mlp_dim": 128},
    "M": {"patch_size": 4, "hidden_size": 128, "num_layers": 6, "mlp_dim": 256},
}
BATCH_SIZES = {"train": 128, "infer": 500}

# The smallest models of arXiv 2012.12877 and 2106.10270, for photographs.
IMAGENET = {
    "patch_size": 16,
    "num_layers": 12,
    "image_size": 224,
    "channels": 3,
    "num_classes": 1000,
}
IMAGENET_SIZES = {
    "Ti/16": {"hidden_size": 192, "num_heads": 3, "mlp_dim": 768, **IMAGENET},
    "S/16": {"hidden_size": 384, "num_heads": 6, "mlp_dim": 1536, **IMAGENET},
}
IMAGENET_BATCH_SIZES = {"train": 32, "infer": 32}
