"""The exported ONNX graph in onnxruntime, for each option of the model."""

import json
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
from format_cases import TOLERANCE, draw_images, draw_params, make_info, run_ours

from vit_hk.errors import UserError
from vit_hk.formats import onnx_graph
from vit_hk.formats.onnx import export_onnx

NUM_IMAGES = 200
VARIANTS = {
    "S": {"num_layers": 4},
    "gap": {"pool": "gap"},
    "registers, sincos2d": {"registers": 3, "position": "sincos2d"},
    "gap, registers, sincos2d": {"pool": "gap", "registers": 2, "position": "sincos2d"},
    "gap, learned, no registers, tanh": {"pool": "gap", "gelu": "tanh"},
    "qk_norm, norm_eps": {"qk_norm": True, "norm_eps": 1e-3},
    "conv stem, odd patch": {"stem": "conv"},
    "conv stem, colours, not square": {
        "stem": "conv", "patch_size": 4, "image_shape": (12, 8, 3), "gelu": "tanh"
    },
    "hybrid stem": {
        "stem": "hybrid", "patch_size": 4, "image_shape": (8, 12, 2), "norm_eps": 1e-3
    },
    "cct stem, remaining patch": {"stem": "cct", "patch_size": 6, "image_shape": (12, 18, 3)},
}  # fmt: skip


def run_session(content: bytes, images: np.ndarray) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, ["CPUExecutionProvider"])
    return session.run(["logits", "features", "attention"], {"images": images})


@pytest.mark.parametrize("name", VARIANTS)
def test_onnxruntime_computes_the_same(name):
    info = make_info(**{"num_layers": 1, **VARIANTS[name]})
    params, images = draw_params(info, std=0.1), draw_images(info, NUM_IMAGES)
    expected = run_ours(params, info, images)
    for uint8, inputs in ((False, info.normalization(images)), (True, images)):
        (content,) = export_onnx(params, info, uint8).values()
        onnx.checker.check_model(content, full_check=True)
        for found, exact in zip(run_session(content, inputs), expected, strict=True):
            np.testing.assert_allclose(found, exact, atol=TOLERANCE)
        single = run_session(content, inputs[:1])[0]  # the batch size is free
        np.testing.assert_allclose(single, expected.logits[:1], atol=TOLERANCE)


def test_classes_and_normalization_are_in_the_metadata_and_bytes_are_the_same():
    info = make_info(num_layers=1)
    params = draw_params(info)
    (content,) = export_onnx(params, info, False).values()
    assert export_onnx(params, info, False)["model.onnx"] == content
    model = onnx.load_model_from_string(content)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(metadata["class_names"]) == info.class_names
    assert json.loads(metadata["mean"]) == info.mean
    assert json.loads(metadata["std"]) == info.std
    assert json.loads(metadata["model"]) == info.model.model_dump()
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    assert model.opset_import[0].version == int(metadata["opset"]) == 20


def test_a_missing_package_is_named_with_its_extra(monkeypatch, one_line):
    monkeypatch.setitem(sys.modules, "onnx", None)
    info = make_info(num_layers=1)
    with pytest.raises(UserError, match=r"pip install -e '\.\[onnx\]'") as error:
        export_onnx(draw_params(info), info, False)
    one_line(error.value)


def test_more_weights_than_the_format_holds_are_refused(monkeypatch, one_line):
    monkeypatch.setattr(onnx_graph, "MAX_BYTES", 1000)
    info = make_info(num_layers=1)
    with pytest.raises(UserError, match="holds at most 1,000") as error:
        export_onnx(draw_params(info), info, False)
    one_line(error.value)
