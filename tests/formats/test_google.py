"""Weights to the NPZ of Google's Vision Transformers and back, against a Flax model."""

import io
import zipfile

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict
from format_cases import (
    TOLERANCE,
    assert_same_params,
    draw_images,
    draw_params,
    make_info,
    run_ours,
)
from google_vit import GoogleViT

from vit_hk.errors import UserError
from vit_hk.formats.google import export_google, import_google
from vit_hk.formats.imported import Overrides

CENTRED = {"mean": [0.5], "std": [0.5]}


def flax_logits(info, arrays, images):
    """Return the logits of the Flax model, whose parameters must have exactly these names."""
    s = info.model
    model = GoogleViT(
        len(info.class_names), s.patch_size, s.hidden_size, s.num_layers, s.num_heads, s.mlp_dim,
        {"cls": "token", "gap": "gap"}[s.pool],
    )  # fmt: skip
    pixels = images.astype(np.float32) / 127.5 - 1
    shapes = jax.eval_shape(model.init, jax.random.key(0), pixels)["params"]
    expected = {"/".join(path): leaf.shape for path, leaf in flatten_dict(shapes).items()}
    assert {key: array.shape for key, array in arrays.items()} == expected
    tree = unflatten_dict({tuple(key.split("/")): array for key, array in arrays.items()})
    return np.asarray(jax.jit(model.apply)({"params": tree}, pixels))


@pytest.mark.parametrize(
    ("changes", "normalization"),
    [
        ({"num_layers": 4}, CENTRED),
        ({"pool": "gap", "image_shape": (28, 28, 3)}, {"mean": [0.5] * 3, "std": [0.5] * 3}),
        ({"position": "sincos2d", "image_shape": (28, 28, 3)}, {}),  # another normalization
    ],
    ids=str,
)
def test_flax_computes_the_same_logits_and_the_way_back_gives_the_same_weights(
    changes, normalization, write
):
    info = make_info(**{"gelu": "tanh", "num_layers": 1, **changes}).model_copy(
        update=normalization
    )
    params, images = draw_params(info), draw_images(info, 4)
    path = write(export_google(params, info)) / "model.npz"
    expected = run_ours(params, info, images).logits
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    np.testing.assert_allclose(flax_logits(info, arrays, images), expected, atol=TOLERANCE)

    back = import_google(path, Overrides(class_names=info.class_names))
    assert back.info.class_names == info.class_names
    assert back.info.image_shape == info.image_shape
    assert back.info.model == info.model.model_copy(update={"position": "learned"})
    assert set(back.info.mean + back.info.std) == {0.5}
    if normalization and info.model.position == "learned":
        assert_same_params(back.params, params)
    found = run_ours(back.params, back.info, images).logits
    np.testing.assert_allclose(found, expected, atol=TOLERANCE)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"gelu": "erf"}, r"model\.gelu is erf"),
        ({"norm_eps": 1e-5}, r"model\.norm_eps is 1e-05"),
        ({"stem": "conv"}, r"model\.stem is conv"),
        ({"qk_norm": True}, r"model\.qk_norm is true"),
        ({"registers": 1}, r"model\.registers is 1"),
    ],
)
def test_settings_that_google_s_model_cannot_hold_are_named(changes, named, one_line):
    info = make_info(**{"gelu": "tanh", **changes})
    with pytest.raises(UserError, match=named) as error:
        export_google(draw_params(info), info)
    one_line(error.value)


@pytest.fixture(scope="module")
def arrays():
    """Return the arrays of a small file."""
    info = make_info(gelu="tanh", hidden_size=8, num_heads=2, mlp_dim=4, num_layers=1)
    (content,) = export_google(draw_params(info), info).values()
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        return dict(file)


def test_images_that_are_not_square_are_refused(one_line):
    # They have 9 patches, as square ones can have.
    info = make_info(image_shape=(7, 63, 1), gelu="tanh", num_layers=1)
    with pytest.raises(UserError, match=r"7 x 63 pixels.*for square ones") as error:
        export_google(draw_params(info), info)
    one_line(error.value)


def dense(inputs, outputs):
    return {"kernel": np.zeros((inputs, outputs)), "bias": np.zeros(outputs)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pre_logits/kernel": np.zeros((8, 8), np.float32)}, "pre_logits/kernel"),
        ({"conv_root/kernel": np.zeros((7, 7, 3, 8), np.float32)}, "is of a ResNet before the"),
        ({"extra": np.zeros(3, np.float32)}, "'extra' has no place"),
        ({"head/bias": None}, "take weights of a classifier"),
        ({"head/bias": np.float32(1)}, "head of 1 classes"),
        ({"head/kernel": None}, "'head/kernel' is missing"),
        ({"cls": np.zeros((1, 1, 8))}, "cls.* is float64"),
        ({"cls": np.full((1, 1, 8), np.nan, np.float32)}, "not finite; download or write it"),
        ({"Transformer/posembed_input/pos_embedding": np.zeros((1, 16, 8), np.float32)}, "square"),
        ({"embedding/kernel": None}, "does not hold the arrays"),
        ({"cls": np.array([{}])}, "object"),
        ({"head/bias": np.zeros(1_000_001, np.float32)}, "claims 1,000,001 classes"),
    ],
    ids=str,
)
def test_other_files_are_refused(arrays, change, message, tmp_path, one_line):
    changed = {k: v for k, v in {**arrays, **change}.items() if v is not None}
    path = tmp_path / "model.npz"
    np.savez(path, allow_pickle=True, **changed)
    with pytest.raises(UserError, match=message) as error:
        import_google(path, Overrides())
    one_line(error.value)


def test_a_file_that_unpacks_to_more_than_it_can_hold_is_refused(arrays, tmp_path):
    path = tmp_path / "bomb.npz"
    np.savez(path, **arrays)
    raw = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        start = archive.start_dir
    raw[start + 24 : start + 28] = (2**32 - 2).to_bytes(4, "little")  # uncompressed size
    path.write_bytes(raw)
    with pytest.raises(UserError, match="unpacks to"):
        import_google(path, Overrides())


def test_a_file_that_numpy_does_not_compress_so_is_refused(arrays, tmp_path):
    path = tmp_path / "bomb.npz"
    np.savez(path, **arrays)
    with (
        zipfile.ZipFile(path) as source,
        zipfile.ZipFile(tmp_path / "b", "w", zipfile.ZIP_LZMA) as to,
    ):
        for name in source.namelist():
            to.writestr(name, source.read(name))
    (tmp_path / "b").rename(path)
    with pytest.raises(UserError, match="is compressed by another method"):
        import_google(path, Overrides())


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04"])
def test_damaged_files_are_refused(content, tmp_path, one_line):
    path = tmp_path / "model.npz"
    path.write_bytes(content)
    with pytest.raises(UserError, match="is not an NPZ") as error:
        import_google(path, Overrides())
    one_line(error.value)
