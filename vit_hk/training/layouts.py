"""The layouts of the batches of a training."""

from vit_hk.params import Config, ImageShape
from vit_hk.runtime.batch_layout import BatchLayout, layout_for_inference, layout_for_training


def training_layout(config: Config, image_shape: ImageShape) -> BatchLayout:
    """Return the layout of a training batch of images of this height, width and channels.

    Raises:
      UserError: see `layout_for_training`.
    """
    num_tokens = config.model.num_tokens(image_shape)
    return layout_for_training(config.train.batch_size, num_tokens, config.model.hidden_size)


def validation_layout(config: Config, image_shape: ImageShape) -> BatchLayout:
    """Return the layout of a batch of validation images, and of those that calibrate."""
    num_tokens = config.model.num_tokens(image_shape)
    return layout_for_inference(config.train.batch_size, num_tokens, config.model.hidden_size)
