"""Layouts of linear layers, norms and filters of patches in PyTorch, for its two formats."""

from vit_hk.formats.fields import AS_IS, Field, Layout


def linear(module: str, key: str, weight: Layout) -> list[Field]:
    """Return the fields of a linear layer."""
    return [
        Field(module, "w", (f"{key}.weight",), weight),
        Field(module, "b", (f"{key}.bias",), AS_IS),
    ]


def norm(module: str, key: str) -> list[Field]:
    """Return the fields of a LayerNorm."""
    return [
        Field(module, "scale", (f"{key}.weight",), AS_IS),
        Field(module, "offset", (f"{key}.bias",), AS_IS),
    ]


def patch_kernel(patch_size: int) -> Layout:
    """Return the layout of patches as a convolution: [P * P * channels, D] as [D, channels, P, P].

    Args:
      patch_size: P.
    """
    return Layout(
        lambda w: (w.reshape(patch_size, patch_size, -1, w.shape[-1]).transpose(3, 2, 0, 1),),
        lambda kernel: kernel.transpose(2, 3, 1, 0).reshape(-1, len(kernel)),
    )
