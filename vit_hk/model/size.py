"""The size of a model in closed form: its parameters, and lower bounds of its memory.

See the glossary of shapes in `vit_hk/model/__init__.py`.
"""

from vit_hk.model.stem_layers import KERNEL_SIZE, stem_layers
from vit_hk.params import ImageShape, ModelSettings

FLOAT32_BYTES = 4  # of one element


def count_parameters(settings: ModelSettings, image_shape: ImageShape, num_classes: int) -> int:
    """Return the number of learned parameters.

    Args:
      settings: the architecture.
      image_shape: height, width and channels.
      num_classes: C.
    """
    s, channels = settings, image_shape[2]
    d, m = s.hidden_size, s.mlp_dim
    class_tokens = 1 if s.pool == "cls" else 0
    stem, patch_size = 0, s.patch_size
    for layer in stem_layers(s.stem, s.patch_size, d):
        stem += KERNEL_SIZE**2 * channels * layer.channels + layer.channels
        stem += 2 * layer.channels if layer.has_norm else 0
        channels, patch_size = layer.channels, patch_size // layer.downsampling
    embedding = stem + patch_size**2 * channels * d + d
    tokens = (class_tokens + s.registers) * d
    positions = (class_tokens + s.num_patches(image_shape)) * d if s.position == "learned" else 0
    qk_norms = 4 * (d // s.num_heads) if s.qk_norm else 0
    attention = 4 * (d * d + d) + qk_norms
    mlp = d * m + m + m * d + d
    norm = 2 * d
    block = attention + mlp + 2 * norm
    head = d * num_classes + num_classes
    return embedding + tokens + positions + s.num_layers * block + norm + head


def inference_bytes(settings: ModelSettings, image_shape: ImageShape, num_images: int) -> int:
    """Return a lower bound of the bytes of a forward pass, those of its largest layer.

    Args:
      settings: the architecture.
      image_shape: height, width and channels.
      num_images: images that are processed at a time.
    """
    attention = attention_bytes(settings, image_shape)
    if settings.pool == "cls" and settings.num_layers == 1:
        attention //= settings.num_tokens(image_shape)  # the row of the class token alone
    return num_images * max(attention, _stem_bytes(settings, image_shape))


def activation_bytes(
    settings: ModelSettings,
    image_shape: ImageShape,
    num_images: int,
    remat: bool,
    stores_attention: bool = True,
) -> int:
    """Return a lower bound of the bytes of activations that are kept for the gradient.

    Counted are the first convolution of the stem and the attention weights of all layers, which
    are float32 also where products are bfloat16. With `remat` it is the tokens before each layer
    and the weights of one layer, besides the convolution.

    Args:
      settings: the architecture.
      image_shape: height, width and channels.
      num_images: images that are processed at a time.
      remat: whether activations are recomputed.
      stores_attention: whether attention weights are stored; cuDNN's attention stores none.
    """
    # With pool "cls" the last layer keeps the weights of the class token only.
    full_layers = max(0, settings.num_layers - (settings.pool == "cls"))
    attention = attention_bytes(settings, image_shape) if stores_attention else 0
    if remat:
        tokens = FLOAT32_BYTES * settings.num_tokens(image_shape) * settings.hidden_size
        kept = full_layers * tokens + min(1, full_layers) * attention
    else:
        kept = full_layers * attention
    return num_images * (kept + _stem_bytes(settings, image_shape))


def attention_bytes(settings: ModelSettings, image_shape: ImageShape) -> int:
    """Return the bytes of one layer's attention weights of one image, float32 [H, T, T]."""
    return FLOAT32_BYTES * settings.num_heads * settings.num_tokens(image_shape) ** 2


def _stem_bytes(settings: ModelSettings, image_shape: ImageShape) -> int:
    """Return the bytes of the first convolution's output for one image, float32."""
    layers = stem_layers(settings.stem, settings.patch_size, settings.hidden_size)
    if not layers:
        return 0
    first = layers[0]
    pixels = settings.num_patches(image_shape) * (settings.patch_size // first.stride) ** 2
    return FLOAT32_BYTES * pixels * first.channels
