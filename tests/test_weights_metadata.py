import numpy as np
import pytest

from vit_hk.data.normalization import Normalization
from vit_hk.params import ModelSettings, Preparation
from vit_hk.weights_metadata import METADATA_KEY, WeightsInfo, parse_metadata


@pytest.fixture
def info() -> WeightsInfo:
    model = ModelSettings(
        patch_size=2, stem="linear", hidden_size=8, num_layers=2, num_heads=2, mlp_dim=4,
        pool="cls", position="learned", dropout=0.0, drop_path=0.0, qk_norm=False, registers=3,
        gelu="erf", norm_eps=1e-6,
    )  # fmt: skip
    return WeightsInfo(
        preparation=None, model=model, data="toy", source="drawn", class_names=["a", "b", "c"],
        image_shape=[4, 6, 2], mean=[0.4, 0.5], std=[0.2, 0.3], seed=0, validation_fraction=0.5,
    )  # fmt: skip


def test_numbers_of_patches_and_tokens(info):
    assert info.grid == (2, 3)
    assert info.num_patches == 6
    assert info.num_tokens == 6 + 3 + 1  # registers and the class token


def test_normalization_has_the_mean_and_std_of_the_metadata(info):
    assert info.normalization == Normalization(mean=(0.4, 0.5), std=(0.2, 0.3))
    images = np.full((1, 1, 1, 2), 255, np.uint8)
    np.testing.assert_allclose(info.normalization(images).ravel(), [3.0, 0.5 / 0.3], rtol=1e-6)


def test_parsed_metadata_equals_the_written_metadata(info):
    assert parse_metadata({METADATA_KEY: info.model_dump_json()}) == info


def test_image_that_no_position_could_be_stored_for_is_refused(info):
    values = info.model_dump() | {"image_shape": [1_000_000, 1_000_000, 2]}
    with pytest.raises(ValueError, match="image_shape has more patches than any model"):
        WeightsInfo.model_validate(values)


def test_preparation_makes_images_of_the_shape_of_the_model(info):
    preparation = Preparation(height=4, width=6, channels=3, resize="crop", background=0)
    values = info.model_dump() | {"preparation": preparation.model_dump()}
    with pytest.raises(ValueError, match="preparation must make images of image_shape"):
        WeightsInfo.model_validate(values)
    colours = {"image_shape": [4, 6, 3], "mean": [0.5] * 3, "std": [0.5] * 3}
    written = WeightsInfo.model_validate(values | colours).model_dump_json()
    assert parse_metadata({METADATA_KEY: written}).preparation == preparation


@pytest.mark.parametrize("metadata", [None, {}, {"another key": "{}"}, {METADATA_KEY: "{"}])
def test_missing_or_malformed_metadata_is_refused(metadata):
    with pytest.raises(ValueError, match=f"no valid {METADATA_KEY} in its metadata"):
        parse_metadata(metadata)
