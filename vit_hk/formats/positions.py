"""Positional embeddings in formats that have learned ones only."""

import haiku as hk
import numpy as np

from vit_hk.model.positions import sincos2d_positions
from vit_hk.weights_metadata import WeightsInfo


def with_learned_positions(params: hk.Params, info: WeightsInfo) -> tuple[hk.Params, WeightsInfo]:
    """Return the same model with learned positional embeddings, whatever the position setting.

    The fixed embeddings of "sincos2d" become learned ones of the same values. The class token has
    none, so its row is zero. Results stay the same to the last bit.
    """
    if info.model.position == "learned":
        return params, info
    position = sincos2d_positions(*info.grid, info.model.hidden_size)  # [N, D]
    if info.model.pool == "cls":
        position = np.concatenate([np.zeros_like(position[:1]), position])
    tokens = {**params.get("vit", {}), "position": position}
    model = info.model.model_copy(update={"position": "learned"})
    return {**params, "vit": tokens}, info.model_copy(update={"model": model})
