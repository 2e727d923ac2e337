"""The commands export and import, in this process; test_predict.py starts the program."""

import errno
import hashlib
import json
import os
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import yaml

from vit_hk.__main__ import main
from vit_hk.data.image_preparation import preparation_for
from vit_hk.errors import UserError
from vit_hk.formats.model_card import CARD, model_card
from vit_hk.formats.run_metrics import find_metrics
from vit_hk.model.vit import init_params
from vit_hk.params import ModelSettings
from vit_hk.weights import load_weights, read_weights, save_weights
from vit_hk.weights_metadata import WeightsInfo

FILES = {
    "timm": {"config.json", "model.safetensors"},
    "transformers": {"config.json", "model.safetensors", "preprocessor_config.json"},
    "google": {"model.npz"},
    "onnx": {"model.onnx"},
}


@pytest.fixture(scope="module")
def info():
    model = ModelSettings(
        patch_size=4, stem="linear", hidden_size=8, num_layers=1, num_heads=2, mlp_dim=4,
        pool="cls", position="learned", dropout=0.0, drop_path=0.0, qk_norm=False, registers=0,
        gelu="tanh", norm_eps=1e-6,
    )  # fmt: skip
    return WeightsInfo(
        model=model, data="mnist", source="NPZ file: made for a test", preparation=None,
        class_names=["left", "middle", "right"], image_shape=[8, 12, 2],
        mean=[0.5, 0.5], std=[0.5, 0.5], seed=0, validation_fraction=0.1,
    )  # fmt: skip


@pytest.fixture(scope="module")
def params(info):
    return init_params(info.model, info.image_shape, 3, seed=0)


@pytest.fixture
def project_folder(info, params, tmp_path, monkeypatch):
    """Change to a folder with models/vit.safetensors."""
    save_weights(tmp_path / "models/vit.safetensors", params, info)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def front_matter(card: str) -> dict:
    _, front, _ = card.split("---\n", 2)
    return yaml.safe_load(front)


@pytest.mark.parametrize("name", FILES)
def test_export_writes_a_folder_with_a_model_card(project_folder, info, name, capsys):
    if name == "google":  # whose files are for square images
        info = info.model_copy(update={"image_shape": [8, 8, info.image_shape[2]]})
        params = init_params(info.model, info.image_shape, 3, seed=0)
        save_weights(project_folder / "models/vit.safetensors", params, info)
    main(["export", name, "out/exported"])
    folder = project_folder / "out/exported"
    assert {path.name for path in folder.iterdir()} == FILES[name] | {CARD}
    assert [path.name for path in folder.parent.iterdir()] == ["exported"]
    front = front_matter((folder / CARD).read_text("utf-8"))
    assert front["license"] == "apache-2.0"
    assert front["datasets"] == ["mnist"]
    assert front["pipeline_tag"] == "image-classification"
    assert "README.md has no figures" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["timm", "transformers"])
def test_import_writes_weights_that_the_stages_accept(project_folder, info, name, tiny_dataset):
    main(["export", name, "exported"])
    main(["import", name, "exported", "models/back.safetensors"])
    path = project_folder / "models/back.safetensors"
    params, found, _ = load_weights(path, info.model, tiny_dataset)
    assert (found.data, found.seed, found.validation_fraction) == (None, None, None)
    assert found.source == f"imported from {name}"
    original = read_weights(project_folder / "models/vit.safetensors").params
    for module, arrays in original.items():
        for array, expected in arrays.items():
            np.testing.assert_array_equal(params[module][array], expected)
    main(["export", name, "again", "--weights", "models/back.safetensors"])
    front = front_matter((project_folder / "again" / CARD).read_text("utf-8"))
    assert front["license"] == "unknown"
    assert "datasets" not in front


def test_imported_weights_for_other_settings_are_refused(project_folder, info, tiny_dataset):
    main(["export", "timm", "exported"])
    main(["import", "timm", "exported", "models/back.safetensors"])
    other = info.model.model_copy(update={"norm_eps": 1e-5, "registers": 1})
    with pytest.raises(UserError, match=r"imported from timm.*registers 0 there, 1 here.*norm_eps"):
        load_weights(project_folder / "models/back.safetensors", other, tiny_dataset)


def test_options_state_normalization_and_class_names(project_folder):
    main(["export", "timm", "exported"])
    (project_folder / "names.txt").write_text("un\ndos\ndos\n", "utf-8-sig")  # as on Windows
    options = ["--mean", "0.1", "--std", "0.2", "0.3", "--class-names", "names.txt"]
    main(["import", "timm", "exported", "new.safetensors", *options])
    info = read_weights(project_folder / "new.safetensors").info
    assert (info.mean, info.std) == ([0.1, 0.1], [0.2, 0.3])
    assert info.class_names == ["un", "dos (1)", "dos (2)"]


@pytest.mark.parametrize(
    ("name", "resize", "expected"),
    [
        ("timm", "crop", "cropped at the centre. Pixels"),
        ("timm", "pad", "grey level 0. timm's transform pads with the mean colour instead. "),
        ("transformers", "stretch", "are stretched. Pixels"),
        (
            "transformers",
            "crop",
            "cropped at the centre. ViTImageProcessor stretches them instead.",
        ),
    ],
)
def test_the_card_says_how_images_are_resized_and_what_makes_probabilities_calibrated(
    info, name, resize, expected
):
    info = info.model_copy(update={"preparation": preparation_for((8, 12, 3), resize)})
    card = model_card(name, info, None, temperature=1.25)
    assert expected in card
    assert "divide the logits by 1.25 before the softmax" in card
    assert "divide the logits" not in model_card(name, info, None)


def test_the_card_of_googles_format_names_one_normalization(info):
    card = model_card("google", info, None)
    assert "from 0 … 255 to -1 … 1" in card
    assert "(x - mean) / std" not in card


def test_names_stay_distinct_where_one_looks_like_another_with_its_number(project_folder):
    main(["export", "timm", "exported"])
    (project_folder / "names.txt").write_text("a\na\na (0)\n")
    main(["import", "timm", "exported", "new.safetensors", "--class-names", "names.txt"])
    names = read_weights(project_folder / "new.safetensors").info.class_names
    assert len(set(names)) == 3
    assert all(name.startswith("a") for name in names)


def test_the_card_has_the_figures_that_dvc_recorded_for_these_weights(project_folder):
    metrics = project_folder / "results/metrics.json"
    metrics.parent.mkdir()
    metrics.write_text(json.dumps({"test": {"accuracy": 0.9876}, "validation": {"loss": 0.5}}))

    def entry(path):
        return {"path": path, "md5": md5(project_folder / path)}

    stage = {"deps": [entry("models/vit.safetensors")], "outs": [entry("results/metrics.json")]}
    (project_folder / "dvc.lock").write_text(yaml.safe_dump({"stages": {"evaluate": stage}}))
    weights = project_folder / "models/vit.safetensors"
    cached = weights.rename(project_folder / "cached")  # DVC may link to files of its cache
    weights.symlink_to(cached)
    main(["export", "timm", "exported"])
    assert "| test | accuracy | 0.9876 |" in (project_folder / "exported" / CARD).read_text("utf-8")

    metrics.write_text(json.dumps({"test": {"accuracy": 0.1}}))  # of other weights
    main(["export", "timm", "exported", "--force"])
    assert "No figures" in (project_folder / "exported" / CARD).read_text("utf-8")


@pytest.mark.parametrize("name", ["dvc.lock", "results/metrics.json"])
def test_of_a_huge_file_no_figures_are_read(project_folder, name):
    weights = {
        "path": "models/vit.safetensors",
        "md5": md5(project_folder / "models/vit.safetensors"),
    }
    stage = {"deps": [weights], "outs": [{"path": "results/metrics.json", "md5": 32 * "0"}]}
    (project_folder / "dvc.lock").write_text(yaml.safe_dump({"stages": {"evaluate": stage}}))
    path = project_folder / name
    path.parent.mkdir(exist_ok=True)
    with path.open("wb") as file:
        file.truncate(2**40)  # without content, and larger than memory
    assert find_metrics(project_folder / "models/vit.safetensors") is None


def test_what_exists_is_replaced_only_with_force(project_folder, one_line):
    folder, weights = project_folder / "exported", project_folder / "new.safetensors"
    folder.mkdir()
    (folder / "config.json").write_text("mine")
    (folder / "notes.txt").write_text("mine")
    weights.write_text("mine")
    with pytest.raises(UserError, match=r"exported exists.*--force") as error:
        main(["export", "timm", "exported"])
    one_line(error.value)
    assert (folder / "config.json").read_text() == "mine"
    main(["export", "timm", "exported", "--force"])
    assert (folder / "config.json").read_text() != "mine"
    assert (folder / "notes.txt").read_text() == "mine"
    with pytest.raises(UserError, match=r"new\.safetensors exists.*--force"):
        main(["import", "timm", "exported", "new.safetensors"])
    assert weights.read_text() == "mine"
    main(["import", "timm", "exported", "new.safetensors", "--force"])
    assert read_weights(weights).info.is_imported


def test_a_folder_in_the_place_of_a_file_leaves_the_export_as_it_was(project_folder, one_line):
    folder = project_folder / "exported"
    (folder / CARD).mkdir(parents=True)
    (folder / "config.json").write_text("mine")
    with pytest.raises(UserError, match=rf"{CARD} could not be written") as error:
        main(["export", "timm", "exported", "--force"])
    one_line(error.value)
    assert sorted(path.name for path in folder.iterdir()) == [CARD, "config.json"]
    assert (folder / "config.json").read_text() == "mine"


@pytest.mark.parametrize("fails", [False, True])
def test_a_folder_whose_parent_may_not_be_written_is_written(project_folder, fails, monkeypatch):
    folder = project_folder / "exported"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    mkdir, write_bytes = os.mkdir, Path.write_bytes

    def refuse_in_parent(path, *args, **kwargs):  # root, as whom tests may run, may write all
        if Path(path).absolute().parent == project_folder and not Path(path).exists():
            raise PermissionError(errno.EACCES, "Permission denied")
        mkdir(path, *args, **kwargs)

    def fill_up(path, content):
        if fails and path.name == "model.safetensors":
            raise OSError(errno.ENOSPC, "No space left on device")
        return write_bytes(path, content)

    monkeypatch.setattr(os, "mkdir", refuse_in_parent)
    monkeypatch.setattr(Path, "write_bytes", fill_up)
    expectation = pytest.raises(UserError, match="No space left") if fails else nullcontext()
    with expectation:
        main(["export", "timm", "exported", "--force"])
    added = set() if fails else FILES["timm"] | {CARD}
    assert {path.name for path in folder.iterdir()} == {"notes.txt"} | added
    assert (folder / "notes.txt").read_text() == "mine"


def test_a_link_to_a_folder_is_named_as_one(project_folder, one_line):
    (project_folder / "there").mkdir()
    (project_folder / "link").symlink_to(project_folder / "there")
    with pytest.raises(
        UserError, match=r"^link is a link; choose another name, or name what it leads to$"
    ) as error:
        main(["export", "timm", "link", "--force"])
    one_line(error.value)
    assert not list((project_folder / "there").iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["export", "timm", "out", "--uint8"], "--uint8 is an option of onnx"),
        (["export", "timm", "out", "--weights", "none.safetensors"], "none.safetensors is not"),
        (["export", "caffe", "out"], "invalid choice: 'caffe'"),
        (["export", "timm", "models/vit.safetensors"], "is no folder"),
        (["import", "timm", "nowhere", "out"], "nowhere is not there"),
        (["import", "timm", "x" * 300, "out"], "is not readable \\(File name too long\\)"),
        (["import", "google", "x" * 300, "out"], "is not there"),
        (["import", "timm", "good", "x" * 300], "could not be written: File name too long"),
        (["export", "timm", "x" * 300], "could not be written: File name too long"),
        (["export", "timm", "out", "--weights", "x" * 300], "is not there"),
        (["import", "timm", "good", "out", "--class-names", "empty"], "has 0 names, the model has"),
        (
            ["import", "transformers", "large", "out"],
            "large/config.json: image_shape has more patches than",
        ),
        (["import", "timm", "pickled", "out"], "is a pickle"),
        (["import", "timm", "pickled/pytorch_model.bin", "out"], "is a pickle"),
        (["import", "google", "pickled/pytorch_model.bin", "out"], "is a pickle"),
        (["import", "google", "nowhere.npz", "out"], r"nowhere.npz is not there"),
        (["import", "timm", "good", "out", "--std", "0"], "^--std has 0.0; .*; state that of"),
        (
            ["import", "timm", "good", "out", "--mean", "0.1", "0.2", "0.3"],
            "channels is 2, and 3 .* for mean; .* with --mean",
        ),
        (["import", "timm", "good", "out", "--class-names", "none"], "none could not be read"),
        (["import", "timm", "good", "out", "--class-names", "two"], "has 2 names.* 3 classes"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_are_one_line_and_write_nothing(project_folder, arguments, message, one_line):
    if "good" in arguments:  # an export takes longer than the rest
        main(["export", "timm", "good"])
    if "large" in arguments:
        main(["export", "transformers", "large"])
        config = json.loads((project_folder / "large/config.json").read_text("utf-8"))
        config |= {"image_size": 4096, "patch_size": 1, "hidden_size": 768}
        (project_folder / "large/config.json").write_text(json.dumps(config))
    (project_folder / "two").write_text("a\nb\n")
    (project_folder / "empty").touch()
    (project_folder / "pickled").mkdir()
    (project_folder / "pickled/config.json").write_text("{}")
    (project_folder / "pickled/pytorch_model.bin").write_bytes(b"\x80\x02.")
    before = sorted(project_folder.rglob("*"))
    with pytest.raises(UserError, match=message) as error:
        main(arguments)
    one_line(error.value)
    assert sorted(project_folder.rglob("*")) == before
