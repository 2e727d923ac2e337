import jax
import numpy as np
import pytest

from vit_hk.explain.attention_moments import share_in_common
from vit_hk.explain.mean_attention import mean_attention
from vit_hk.inference import run_model
from vit_hk.model.vit import make_model, parameter_shapes
from vit_hk.params import ModelSettings
from vit_hk.weights_metadata import WeightsInfo


@pytest.mark.parametrize(("pool", "query"), [("cls", slice(0, 1)), ("gap", slice(1, None))])
def test_batches_give_the_mean_over_all_images(pool, query):
    settings = ModelSettings(
        patch_size=2, stem="linear", hidden_size=8, num_layers=2, num_heads=2, mlp_dim=4,
        pool=pool, position="learned", dropout=0.0, drop_path=0.0, qk_norm=False, registers=1,
        gelu="erf", norm_eps=1e-6,
    )  # fmt: skip
    info = WeightsInfo(
        preparation=None, model=settings, data="toy", source="drawn", class_names=["a", "b"],
        image_shape=[4, 6, 1], mean=[0.4], std=[0.2], seed=0, validation_fraction=0.5,
    )  # fmt: skip
    model = make_model(settings, 2)
    random = np.random.default_rng(0)
    shapes = parameter_shapes(model, (4, 6, 1))
    weights = jax.tree.map(lambda x: random.normal(size=x.shape).astype(np.float32), shapes)
    images = random.integers(0, 256, (7, 4, 6, 1), dtype=np.uint8)
    found = mean_attention(weights, info, images, batch_size=4)
    run = jax.jit(lambda x: run_model(model, weights, x, info.normalization).attention)
    attention = np.asarray(run(images))
    maps = attention[:, :, :, query, -6:].mean(axis=3)  # [L, B, H, N]
    np.testing.assert_allclose(found.mean, maps.mean(axis=1), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(found.mean_square, (maps**2).mean(axis=1), rtol=1e-5, atol=1e-7)
    assert found.mean.shape == (2, 2, 6)
    assert found.mean.dtype == np.float32
    assert found.count == 7


def common(maps: list[list[float]]) -> float:
    """Return the share in common of maps [images, N] of one head."""
    images = np.array(maps)[:, np.newaxis, np.newaxis]
    return float(share_in_common(images.mean(axis=0), (images**2).mean(axis=0))[0, 0])


def test_equal_maps_have_everything_in_common():
    assert common([[0.1, 0.7, 0.1]] * 3) == pytest.approx(1)
    assert common([[0.0, 0.0]] * 2) == 1


def test_maps_of_one_patch_each_have_in_common_one_part_of_as_many():
    assert common(np.eye(4).tolist()) == pytest.approx(1 / 4)


def test_the_rest_is_the_variance_between_images():
    maps = np.random.default_rng(0).dirichlet(np.ones(5), 100)
    variance = maps.var(axis=0).sum() / (maps**2).sum(axis=1).mean()
    assert common(maps.tolist()) == pytest.approx(1 - variance)
