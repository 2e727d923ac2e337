import jax
import jax.numpy as jnp
import pytest

from vit_hk.explain.patch_attention_model import make_patch_attention_model
from vit_hk.model.vit import parameter_shapes
from vit_hk.params import ModelSettings

SHAPE = 64, 64, 1


@pytest.mark.parametrize("pool", ["cls", "gap"])
def test_attention_of_all_tokens_is_in_memory_for_few_layers_at_a_time(pool):
    settings = ModelSettings(
        patch_size=4, stem="linear", hidden_size=8, num_layers=9, num_heads=2, mlp_dim=8,
        pool=pool, position="learned", dropout=0.0, drop_path=0.0, qk_norm=False, registers=0,
        gelu="erf", norm_eps=1e-6,
    )  # fmt: skip
    model = make_patch_attention_model(settings, 3, SHAPE)
    images = jax.ShapeDtypeStruct((1, *SHAPE), jnp.float32)
    lowered = jax.jit(model.apply).lower(parameter_shapes(model, SHAPE), images)
    assert lowered.out_info.attention.shape == (9, 1, 2, 256)
    weights_of_a_layer = 4 * 2 * settings.num_tokens(SHAPE) ** 2
    assert lowered.compile().memory_analysis().temp_size_in_bytes < 4 * weights_of_a_layer
