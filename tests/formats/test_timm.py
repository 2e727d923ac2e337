"""Weights to timm's VisionTransformer and back, against timm itself."""

import inspect
import json
from functools import partial

import numpy as np
import pytest
import timm
import torch
from format_cases import (
    TOLERANCE,
    assert_same_params,
    draw_images,
    draw_params,
    make_info,
    normalized,
    run_ours,
)
from PIL import Image
from timm.models._hub import load_model_config_from_path
from timm.models.vision_transformer import VisionTransformer

from vit_hk.data.image_preparation import preparation_for, prepare_image
from vit_hk.errors import UserError
from vit_hk.formats.imported import Overrides
from vit_hk.formats.timm import export_timm, import_timm

VARIANTS = {
    "S": {"num_layers": 4},
    "tanh": {"gelu": "tanh"},
    "qk_norm": {"qk_norm": True},
    "registers": {"registers": 3},
    "sincos2d, registers": {"position": "sincos2d", "registers": 2},
    "gap": {"pool": "gap"},
    "gap, registers, sincos2d": {"pool": "gap", "registers": 2, "position": "sincos2d"},
    "three colours, not square": {"image_shape": (28, 14, 3), "mlp_dim": 90},
}


def torch_logits(model, info, images):
    with torch.no_grad():
        return model.eval()(torch.tensor(normalized(info, images))).numpy()


@pytest.mark.parametrize("name", VARIANTS)
def test_timm_computes_the_same_logits_and_the_way_back_gives_the_same_weights(name, write):
    info = make_info(**{"num_layers": 1, **VARIANTS[name]})
    params, images = draw_params(info), draw_images(info, 4)
    folder = write(export_timm(params, info))
    expected = run_ours(params, info, images).logits

    model = timm.create_model(f"local-dir:{folder}", pretrained=True)
    np.testing.assert_allclose(torch_logits(model, info, images), expected, atol=TOLERANCE)
    data = timm.data.resolve_data_config(model.pretrained_cfg)
    assert data["input_size"] == (info.image_shape[2], *info.image_shape[:2])
    assert list(data["mean"]) == info.mean
    assert list(data["std"]) == info.std
    assert model.pretrained_cfg["label_names"] == info.class_names

    back = import_timm(folder, Overrides())
    assert back.info.mean == info.mean
    assert back.info.std == info.std
    assert back.info.class_names == info.class_names
    assert back.info.image_shape == info.image_shape
    assert back.info.is_imported
    expected_model = info.model.model_copy(update={"position": "learned"})
    assert back.info.model == expected_model
    if info.model.position == "learned":
        assert_same_params(back.params, params)
    else:
        found = run_ours(back.params, back.info, images).logits
        np.testing.assert_allclose(found, expected, atol=TOLERANCE)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"act_layer": "gelu_tanh", "qk_norm": True},
        {"reg_tokens": 2},  # with positions of their own
        {"reg_tokens": 2, "no_embed_class": True},
        {"class_token": False, "global_pool": "avg", "fc_norm": False, "reg_tokens": 1},
    ],
    ids=str,
)
def test_a_model_that_timm_made_gives_the_same_logits_here(changes, tmp_path):
    args = {
        "img_size": 28, "patch_size": 7, "in_chans": 3, "num_classes": 5, "embed_dim": 32,
        "depth": 1, "num_heads": 2, "mlp_ratio": 3.0, **changes,
    }  # fmt: skip
    torch.manual_seed(0)
    model = timm.create_model("vit_small_patch16_224", **args)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.2)
    timm.models.save_for_hf(model, tmp_path / "hub", model_args=args, safe_serialization=True)
    params, info = import_timm(tmp_path / "hub", Overrides())
    images = draw_images(info, 3)
    expected = torch_logits(model, info, images)
    np.testing.assert_allclose(run_ours(params, info, images).logits, expected, atol=TOLERANCE)
    assert info.mean == list(model.pretrained_cfg["mean"])
    assert info.class_names == list("01234")


def is_json(value):
    return value is None or isinstance(value, bool | int | float | str)


def test_arguments_may_state_what_a_plain_model_has(tmp_path):
    parameters = inspect.signature(VisionTransformer).parameters
    stated = {name: p.default for name, p in parameters.items() if is_json(p.default)}
    args = stated | {"img_size": 28, "patch_size": 7, "embed_dim": 12, "depth": 1, "num_heads": 3}
    del args["device"], args["dtype"]  # where it is made, and not what
    model = timm.create_model("vit_small_patch16_224", **args)
    timm.models.save_for_hf(model, tmp_path / "hub", model_args=args, safe_serialization=True)
    config = json.loads((tmp_path / "hub/config.json").read_text())
    assert set(config["model_args"]) == set(args)
    params, info = import_timm(tmp_path / "hub", Overrides())
    images = draw_images(info, 2)
    expected = torch_logits(model, info, images)
    np.testing.assert_allclose(run_ours(params, info, images).logits, expected, atol=TOLERANCE)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a", "b", "c"], ["a", "b", "c"]),  # not those of the model before it was fine-tuned
        ({0: "a", 1: "b", 2: "c"}, ["a", "b", "c"]),
        ({2: "c", 0: "a"}, ["a", "1", "c"]),
        (None, ["x", "y", "z"]),
        (["a", "b"], ["0", "1", "2"]),
        ({0: "a", 3: "d"}, ["0", "1", "2"]),
    ],
    ids=str,
)
def test_class_names_are_those_that_timm_reads(names, expected, tmp_path):
    args = {"img_size": 28, "patch_size": 7, "embed_dim": 12, "depth": 1, "num_heads": 3}
    model = timm.create_model("vit_small_patch16_224", num_classes=3, **args)
    before = {"num_classes": 3, "label_names": ["x", "y", "z"]}
    model_config = {"label_names": names, "pretrained_cfg": before}
    timm.models.save_for_hf(model, tmp_path / "hub", model_config, args, safe_serialization=True)
    theirs = load_model_config_from_path(tmp_path / "hub")[0]["label_names"]
    assert theirs == (json.loads(json.dumps(names)) or ["x", "y", "z"])
    assert import_timm(tmp_path / "hub", Overrides()).info.class_names == expected


@pytest.mark.parametrize("key", ["labels", "label_names"])
def test_a_configuration_without_sections_is_read_as_timm_reads_it(key, tmp_path):
    args = {"embed_dim": 192, "depth": 1, "num_classes": 2, "img_size": 32}
    model = timm.create_model("vit_tiny_patch16_224", **args)
    timm.models.save_for_hf(model, tmp_path / "hub", safe_serialization=True)
    flat = {
        "architecture": "vit_tiny_patch16_224", "num_classes": 2, "num_features": 192,
        "input_size": [3, 32, 32], "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6],
        key: ["cat", "dog"],
    }  # fmt: skip
    (tmp_path / "hub/config.json").write_text(json.dumps(flat))
    theirs = load_model_config_from_path(tmp_path / "hub")[0]
    info = import_timm(tmp_path / "hub", Overrides()).info
    assert info.class_names == theirs["label_names"] == ["cat", "dog"]
    assert (info.mean, info.std) == (theirs["mean"], theirs["std"])
    assert info.image_shape == [32, 32, 3]


@pytest.mark.parametrize("resize", ["crop", "pad", "stretch"])
def test_timm_shapes_images_as_the_model_does(resize, write):
    info = make_info(image_shape=(28, 28, 3), num_layers=1)
    background = 128 if resize == "pad" else 0  # timm fills up with the mean colour
    preparation = preparation_for((28, 28, 3), resize, background)
    info = info.model_copy(update={"preparation": preparation})
    folder = write(export_timm(draw_params(info), info))
    model = timm.create_model(f"local-dir:{folder}", pretrained=True)
    transform = timm.data.create_transform(**timm.data.resolve_data_config(model.pretrained_cfg))
    image = Image.new("RGB", (56, 28), (255, 0, 0))
    image.paste((0, 0, 255), (28, 0, 56, 28))  # red on the left, blue on the right
    theirs = transform(image).numpy().transpose(1, 2, 0) * info.std + info.mean
    ours = prepare_image(image, info.preparation) / 255
    if resize == "pad":
        np.testing.assert_allclose(theirs[0].mean(axis=-1), ours[0].mean(axis=-1), atol=0.01)
        ours, theirs = ours[8:20], theirs[8:20]
    np.testing.assert_allclose(theirs[:, [4, 22]], ours[:, [4, 22]], atol=0.01)
    assert import_timm(folder, Overrides()).info.preparation == info.preparation


def test_channels_are_those_of_the_tensors_and_harmless_arguments_are_read(write):
    info = make_info(image_shape=(28, 28, 1), num_layers=1)
    files = export_timm(draw_params(info), info)
    config = json.loads(files["config.json"])
    config["pretrained_cfg"] |= {"input_size": [3, 28, 28], "mean": [0.1, 0.2, 0.6]}
    config["model_args"] |= {"dynamic_img_size": True, "drop_path_rate": 0.1, "weight_init": "skip"}
    files["config.json"] = json.dumps(config).encode()
    found = import_timm(write(files), Overrides()).info
    assert found.image_shape == [28, 28, 1]
    assert found.mean == pytest.approx([0.3])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stem": "conv"}, "model.stem .*; export to onnx instead"),
        ({"norm_eps": 1e-5}, "model.norm_eps .*; export to transformers or onnx instead"),
    ],
)
def test_settings_that_timm_cannot_hold_are_named(changes, message, one_line):
    info = make_info(**changes)
    with pytest.raises(UserError, match=message) as error:
        export_timm(draw_params(info), info)
    one_line(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architecture": "resnet50"}, "architecture is 'resnet50'"),
        ({"architecture": "vit_base_patch16_clip_quickgelu_224"}, "architecture is"),
        ({"model_args": {"init_values": 1e-5}}, "model_args.init_values"),
        ({"model_args": {"act_layer": "quick_gelu"}}, "model_args.act_layer"),
        ({"model_args": {"qkv_bias": False}}, "model_args.qkv_bias"),
        ({"label_names": {"cat": "0"}}, "label_names"),
        ({"model_args": {"img_size": 10**9, "num_heads": 4}}, "images have 1000000000"),
        ({"model_args": {"img_size": 30, "num_heads": 4}}, "do not fill"),
        ({"pretrained_cfg": {"input_size": [1, 28]}}, "pretrained_cfg.input_size"),
        ({"global_pool": "avg", "model_args": {"img_size": 28, "num_heads": 4}}, "cls_token"),
        ({"model_args": {"img_size": 28, "num_heads": 5}}, "num_heads = 5"),
    ],
    ids=str,
)
def test_other_models_and_damaged_configurations_are_refused(change, message, write, one_line):
    info = make_info()
    files = export_timm(draw_params(info), info)
    config = json.loads(files["config.json"]) | change
    files["config.json"] = json.dumps(config).encode()
    with pytest.raises(UserError, match=message) as error:
        import_timm(write(files), Overrides())
    one_line(error.value)


def test_a_layer_scale_is_refused_by_name(tmp_path):
    args = {"img_size": 28, "patch_size": 7, "embed_dim": 12, "depth": 1, "num_heads": 3}
    model = VisionTransformer(**args, init_values=1e-5, norm_layer=partial(torch.nn.LayerNorm))
    info = make_info(hidden_size=12, num_heads=3)
    folder = tmp_path / "hub"
    folder.mkdir()
    (folder / "config.json").write_bytes(export_timm(draw_params(info), info)["config.json"])
    from safetensors.torch import save_file

    save_file(model.state_dict(), folder / "model.safetensors")
    with pytest.raises(UserError, match=r"blocks\.0\.ls1\.gamma' \(and 1 more\) has no place"):
        import_timm(folder, Overrides())
