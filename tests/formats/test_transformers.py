"""Weights to transformers' ViTForImageClassification and back, against the library itself."""

import json

import numpy as np
import pytest
import torch
from format_cases import (
    TOLERANCE,
    assert_same_params,
    draw_images,
    draw_params,
    make_info,
    run_ours,
)
from PIL import Image
from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

from vit_hk.errors import UserError
from vit_hk.formats.imported import Overrides
from vit_hk.formats.transformers import export_transformers, import_transformers

VARIANTS = {
    "S": {"num_layers": 4},
    "tanh, eps": {"gelu": "tanh", "norm_eps": 1e-12},
    "sincos2d": {"position": "sincos2d"},
    "three colours, not square": {"image_shape": (28, 14, 3)},
}


def torch_logits(model, pixels):
    with torch.no_grad():
        return model.eval()(torch.tensor(pixels, dtype=torch.float32)).logits.numpy()


@pytest.mark.parametrize("name", VARIANTS)
def test_transformers_computes_the_same_logits_and_the_way_back_gives_the_same_weights(name, write):
    info = make_info(**{"num_layers": 1, **VARIANTS[name]})
    params, images = draw_params(info), draw_images(info, 4)
    folder = write(export_transformers(params, info))
    expected = run_ours(params, info, images).logits

    model, loading = ViTForImageClassification.from_pretrained(folder, output_loading_info=True)
    assert not any(loading.values())
    processor = ViTImageProcessor.from_pretrained(folder)
    if info.image_shape[2] == 3:
        pixels = processor([Image.fromarray(image) for image in images])["pixel_values"]
    else:
        channels_first = images.transpose(0, 3, 1, 2)
        pixels = processor(list(channels_first), input_data_format="channels_first")["pixel_values"]
    found = torch_logits(model, np.array(pixels))
    np.testing.assert_allclose(found, expected, atol=TOLERANCE)
    assert list(model.config.id2label.values()) == info.class_names

    model.save_pretrained(folder)  # as the library writes it
    back = import_transformers(folder, Overrides())
    assert (back.info.mean, back.info.std) == (info.mean, info.std)
    assert back.info.class_names == info.class_names
    assert back.info.image_shape == info.image_shape
    assert back.info.model == info.model.model_copy(update={"position": "learned"})
    if info.model.position == "learned":
        assert_same_params(back.params, params)


def test_a_model_that_transformers_made_gives_the_same_logits_here(tmp_path):
    config = ViTConfig(
        image_size=28, patch_size=7, num_channels=3, hidden_size=32, num_hidden_layers=2,
        num_attention_heads=2, intermediate_size=48, num_labels=3,
    )  # fmt: skip
    torch.manual_seed(0)
    model = ViTForImageClassification(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.2)
    model.save_pretrained(tmp_path)
    params, info = import_transformers(tmp_path, Overrides())
    assert (info.model.gelu, info.model.norm_eps) == ("erf", 1e-12)  # the library's defaults
    assert (info.mean, info.std) == ([0.5] * 3, [0.5] * 3)
    assert info.class_names == ["LABEL_0", "LABEL_1", "LABEL_2"]
    images = draw_images(info, 3)
    expected = torch_logits(model, (images / 127.5 - 1).transpose(0, 3, 1, 2))
    np.testing.assert_allclose(run_ours(params, info, images).logits, expected, atol=TOLERANCE)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"stem": "conv"}, r"model\.stem is conv"),
        ({"pool": "gap"}, r"model\.pool is gap"),
        ({"qk_norm": True}, r"model\.qk_norm is true"),
        ({"registers": 2}, r"model\.registers is 2"),
    ],
)
def test_settings_that_transformers_cannot_hold_are_named(changes, named, one_line):
    info = make_info(**changes)
    with pytest.raises(UserError, match=named) as error:
        export_transformers(draw_params(info), info)
    one_line(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "deit"}, "model_type is 'deit'"),
        ({"hidden_act": "relu"}, "hidden_act is 'relu'"),
        ({"qkv_bias": False}, "qkv_bias is False"),
        ({"problem_type": "multi_label_classification"}, "problem_type is 'multi_.*'single_label"),
        ({"problem_type": "regression"}, "problem_type is 'regression'; .*'single_label"),
        ({"hidden_size": 68}, "is .*64.*its configuration.* require .*68.*; correct"),
        ({"num_hidden_layers": 5}, "encoder.layer.4.*is missing"),
        ({"num_hidden_layers": 3}, "encoder.layer.3.*has no place"),
        ({"image_size": 35}, "position_embeddings"),
        ({"patch_size": 0}, "patch_size is 0"),
    ],
    ids=str,
)
def test_other_models_and_damaged_configurations_are_refused(change, message, write, one_line):
    info = make_info()
    files = export_transformers(draw_params(info), info)
    files["config.json"] = json.dumps(json.loads(files["config.json"]) | change).encode()
    with pytest.raises(UserError, match=message) as error:
        import_transformers(write(files), Overrides())
    one_line(error.value)


@pytest.mark.parametrize("problem_type", [None, "single_label_classification"])
def test_models_of_one_label_are_imported(problem_type, write):
    info = make_info(num_layers=1)
    folder = write(export_transformers(draw_params(info), info))
    config = ViTConfig.from_pretrained(folder, problem_type=problem_type)
    config.save_pretrained(folder)
    assert ViTConfig.from_pretrained(folder).problem_type == problem_type
    assert import_transformers(folder, Overrides()).info.class_names == info.class_names


def test_pixels_that_are_scaled_otherwise_are_refused(write):
    info = make_info()
    files = export_transformers(draw_params(info), info)
    files["preprocessor_config.json"] = b'{"rescale_factor": 1.0}'
    with pytest.raises(UserError, match="rescale_factor is 1"):
        import_transformers(write(files), Overrides())
