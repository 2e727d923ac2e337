"""ViT-Ti/16 for images of 224 pixels and 1,000 classes, against the libraries, one image."""

import jax
import numpy as np
import pytest
import timm
import torch
from flax.traverse_util import unflatten_dict
from format_cases import (
    TOLERANCE,
    assert_same_params,
    draw_images,
    draw_params,
    make_info,
    normalized,
    run_ours,
)
from google_vit import GoogleViT
from transformers import ViTForImageClassification

from vit_hk.formats.google import export_google, import_google
from vit_hk.formats.imported import Overrides
from vit_hk.formats.timm import export_timm, import_timm
from vit_hk.formats.transformers import export_transformers, import_transformers

TINY = {
    "patch_size": 16, "hidden_size": 192, "num_layers": 12, "num_heads": 3, "mlp_dim": 768,
}  # fmt: skip


@pytest.fixture(scope="module")
def tiny():
    """Return the metadata, parameters, an image and the logits of both kinds of GELU."""
    info = make_info((224, 224, 3), 1000, **TINY)
    info = info.model_copy(update={"mean": [0.5] * 3, "std": [0.5] * 3})
    params, images = draw_params(info, std=0.05), draw_images(info, 1)
    tanh = info.model_copy(update={"model": info.model.model_copy(update={"gelu": "tanh"})})
    logits = {kind.model.gelu: run_ours(params, kind, images).logits for kind in (info, tanh)}
    return info, tanh, params, images, logits


def test_timm(tiny, write):
    info, _, params, images, logits = tiny
    folder = write(export_timm(params, info))
    model = timm.create_model(f"local-dir:{folder}", pretrained=True, weight_init="skip").eval()
    with torch.inference_mode():
        found = model(torch.tensor(normalized(info, images))).numpy()
    np.testing.assert_allclose(found, logits["erf"], atol=TOLERANCE)
    assert_same_params(import_timm(folder, Overrides()).params, params)


def test_transformers(tiny, write):
    info, _, params, images, logits = tiny
    folder = write(export_transformers(params, info))
    model = ViTForImageClassification.from_pretrained(folder).eval()
    with torch.inference_mode():
        found = model(torch.tensor(normalized(info, images))).logits.numpy()
    np.testing.assert_allclose(found, logits["erf"], atol=TOLERANCE)
    assert_same_params(import_transformers(folder, Overrides()).params, params)


def test_google(tiny, write):
    _, info, params, images, logits = tiny
    path = write(export_google(params, info)) / "model.npz"
    with np.load(path, allow_pickle=False) as file:
        tree = unflatten_dict({tuple(key.split("/")): file[key] for key in file.files})
    s = info.model
    model = GoogleViT(
        1000, s.patch_size, s.hidden_size, s.num_layers, s.num_heads, s.mlp_dim, "token"
    )
    found = jax.jit(model.apply)({"params": tree}, images.astype(np.float32) / 127.5 - 1)
    np.testing.assert_allclose(found, logits["tanh"], atol=TOLERANCE)
    assert_same_params(import_google(path, Overrides()).params, params)
