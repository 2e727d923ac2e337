"""python -m vit_hk predict, in this process and as a program."""

import functools
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import pytest
from PIL import Image
from small_model import INFO, random_images, save_small_model

import vit_hk
from vit_hk.__main__ import main
from vit_hk.commands import export, import_weights, predict
from vit_hk.data import image_preparation
from vit_hk.errors import UserError, one_line_errors
from vit_hk.trained_model import TrainedModel

IMAGES = random_images(4)
load_once = functools.cache(vit_hk.load)


class Ended(NamedTuple):
    """The exit code of a command and what it printed."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    return save_small_model(tmp_path_factory.mktemp("models") / "vit.safetensors")


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """Return the current folder, with four images."""
    (tmp_path / "images").mkdir()
    for number, image in enumerate(IMAGES):
        Image.fromarray(image).save(tmp_path / "images" / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(weights, capfd, monkeypatch) -> Callable[..., Ended]:
    """Return a function that runs the command in this process with the small weights.

    A model is loaded and compiled once.
    """
    monkeypatch.setattr(predict, "load", load_once)

    def call(*arguments: str) -> Ended:
        capfd.readouterr()
        code = 0
        try:
            with one_line_errors():
                main(["predict", "--weights", str(weights), *arguments])
        except SystemExit as exit_:
            code = exit_.code
        return Ended(code, *capfd.readouterr())

    return call


@pytest.mark.usefixtures("folder")
def test_predictions_are_those_of_python(run, weights):
    ended = run("images", "--json", "--top", "9")
    assert (ended.code, ended.out.count("\n")) == (0, 4), ended.err
    expected = vit_hk.load(weights).predict(IMAGES)
    for number, line in enumerate(ended.out.splitlines()):
        record = json.loads(line)
        assert record["file"] == f"images/{number}.png"
        found = {top["class"]: top["probability"] for top in record["predictions"]}
        assert next(iter(found)) == expected.names[number]
        in_order = [found[name] for name in INFO.class_names]
        np.testing.assert_allclose(in_order, expected.probabilities[number], atol=2e-6)
        assert record["distance"] == pytest.approx(expected.distances[number], abs=1e-3)
        assert record["unfamiliar"] == expected.is_unfamiliar[number]
        warning = f"warning: images/{number}.png: unlike the training images (distance "
        assert (warning in ended.err) == record["unfamiliar"]


@pytest.mark.usefixtures("folder")
def test_batches_change_nothing(run, monkeypatch):
    whole = run("images", "--csv")
    monkeypatch.setattr(predict, "MAX_BATCH", 3)
    assert run("images", "--csv") == whole


@pytest.mark.usefixtures("folder")
def test_batches_have_a_limit_of_bytes(run, monkeypatch):
    whole = run("images", "--csv")
    sizes = []
    read = predict.read_batches

    def record(*arguments: object) -> Iterator[predict.Batch]:
        for batch in read(*arguments):
            sizes.append(len(batch.numbers))
            yield batch

    monkeypatch.setattr(predict, "MAX_BATCH_BYTES", 3 * 8 * 12 + 1)
    monkeypatch.setattr(predict, "read_batches", record)
    assert run("images", "--csv") == whole
    assert sizes == [3, 1]


@pytest.mark.usefixtures("folder")
def test_ink_on_nothing_is_inverted_as_in_python(run, weights):
    ink = IMAGES[0]
    Image.fromarray(np.dstack([np.zeros_like(ink)] * 3 + [ink]), "RGBA").save("ink.png")
    record = json.loads(run("ink.png", "--json", "--top", "1").out)
    expected = vit_hk.load(weights).predict("ink.png")
    assert record["inverted"]
    assert record["predictions"][0]["class"] == expected.names[0]
    assert record["distance"] == pytest.approx(expected.distances[0], abs=1e-3)


def test_unreadable_images_are_named_and_the_others_predicted(run, folder):
    (folder / "images/1.png").write_text("no image")
    Image.fromarray(np.full((8, 12), 7.0, np.float32)).save(folder / "images/2.tif")
    ended = run("images", "--csv", "--top", "1")
    assert ended.code == 1
    assert [line.split(",")[0] for line in ended.out.splitlines()] == [
        "file", "images/0.png", "images/2.png", "images/3.png",
    ]  # fmt: skip
    errors = [line for line in ended.err.splitlines() if line.startswith("error: ")]
    assert errors[0].startswith("error: images/1.png: no image")
    assert errors[1].startswith("error: images/2.tif: pixels from 7 to 7; allowed: 0 to 1")
    assert len(errors) == 2


def test_nothing_but_unreadable_images(run, folder):
    for path in (folder / "images").iterdir():
        path.write_text("no image")
    ended = run("images")
    assert (ended.code, ended.out, ended.err.count("\n")) == (1, "", 4)


@pytest.mark.usefixtures("folder")
def test_inversion_is_said(run):
    Image.fromarray(255 - IMAGES[0]).save("white.png")
    ended = run("white.png", "images/0.png", "--json")
    white, black = (json.loads(line) for line in ended.out.splitlines())
    assert (white["inverted"], black["inverted"]) == (True, False)
    assert white["predictions"] == black["predictions"]
    assert "note: white.png: brightness inverted\n" in ended.err
    assert "note: images/0.png" not in ended.err
    as_is = json.loads(run("white.png", "--json", "--invert", "no").out)
    assert not as_is["inverted"]
    assert as_is["predictions"] != black["predictions"]
    assert json.loads(run("white.png", "--json", "--invert", "yes").out) == white


def test_sheets_are_drawn_and_not_replaced(run, folder):
    (folder / "images/1.png").write_text("no image")
    ended = run("images", "--attention", "sheets")
    assert ended.code == 1
    names = ["images_0.png", "images_2.png", "images_3.png"]
    assert sorted(path.name for path in (folder / "sheets").iterdir()) == names
    before = (folder / "sheets/images_0.png").read_bytes()
    ended = run("images/0.png", "--attention", "sheets")
    assert (ended.code, ended.out, ended.err.count("\n")) == (1, "", 1)
    assert "error: sheets/images_0.png is there already" in ended.err
    assert (folder / "sheets/images_0.png").read_bytes() == before


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["none.png"], "error: 'none.png' is not there"),
        (["images", "--top", "0"], "error: --top is 0; allowed: 1 or more"),
        (["images", "--top", "x"], "error: argument --top: invalid int value: 'x'; see "),
        (["images", "--json", "--csv"], "error: argument --csv: not allowed with argument --json"),
        (["images", "--invert", "maybe"], "error: argument --invert: invalid choice: 'maybe'"),
        (
            ["images", "--attention", "images/0.png"],
            "error: images/0.png/images_0.png could not be",
        ),
        (["images", "--weights", "none"], "error: none is not there; name a weights file"),
        (
            ["images", "--weights", "images/0.png"],
            "if dvc repro made it, make it again with: dvc repro --force --single-item train; "
            "otherwise name another weights file; those of other libraries are read with: python "
            "-m vit_hk import",
        ),
        (["images", "--weights", "x" * 300], "is not there; name a weights file"),
        (["images", "--attention", "x" * 300], "could not be written: File name too long"),
        ([], "error: the following arguments are required: PATH; see "),
    ],
)
def test_mistakes_end_in_one_line(run, arguments, problem):
    ended = run(*arguments)
    assert (ended.code, ended.out) == (1, "")
    (line,) = ended.err.splitlines()
    assert problem in line


def test_model_of_two_channels_is_refused(run, folder):
    info = INFO.model_copy(
        update={
            "image_shape": [8, 12, 2],
            "preparation": None,
            "mean": [0.1, 0.2],
            "std": [1.0] * 2,
        }
    )
    save_small_model(folder / "two.safetensors", info)
    ended = run("images", "--weights", "two.safetensors")
    assert (ended.code, ended.err.count("\n")) == (1, 1)
    assert "a model for images of 2 channels" in ended.err


def test_program_reads_stdin(run, folder, project, weights):
    image = (folder / "images/0.png").read_bytes()
    program = subprocess.run(
        [sys.executable, "-m", "vit_hk", "predict", "-", "--weights", str(weights), "--csv"],
        cwd=folder, input=image, capture_output=True, check=True,
        env={"PYTHONPATH": str(project), "PATH": "", "JAX_NUM_CPU_DEVICES": "2"},
    )  # fmt: skip
    header, row = program.stdout.decode().splitlines()
    assert row.startswith("stdin,")
    in_process = run("images/0.png", "--csv").out.splitlines()
    assert header == in_process[0]
    columns = (line.split(",")[1:] for line in (header, row, in_process[1]))
    for name, found, expected in zip(*columns, strict=True):
        # Another compilation may round the last decimal otherwise, here the fourth or the sixth.
        tolerance = 1e-3 if name == "distance" else 2e-6
        assert (
            float(found) == pytest.approx(float(expected), abs=tolerance)
            if found.replace(".", "").isdigit()
            else found == expected
        )


@pytest.mark.usefixtures("folder")
def test_image_for_which_memory_is_short_is_named_and_the_others_predicted(run, monkeypatch):
    flatten = image_preparation._flatten

    def fail_once(*_: object) -> None:
        monkeypatch.setattr(image_preparation, "_flatten", flatten)
        raise MemoryError

    monkeypatch.setattr(image_preparation, "_flatten", fail_once)
    ended = run("images")
    assert ended.code == 1
    assert "error: images/0.png: needs more memory than is free\n" in ended.err
    assert ended.out.startswith("images/1.png")


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    "error", [MemoryError("512 bytes"), jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: 512 bytes")]
)
def test_too_little_memory_is_one_line(run, monkeypatch, error):
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(TrainedModel, "predict", fail)
    ended = run("images")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err == f"error: not enough memory ({error}); close other programs\n"


def test_too_little_memory_for_weights_is_one_line(folder, weights, monkeypatch, one_line):
    def fail(*_: object) -> None:
        raise MemoryError("512 bytes")

    for function in (predict, "load"), (export, "read_weights"):
        monkeypatch.setattr(*function, fail)
    monkeypatch.setitem(import_weights.IMPORTERS, "timm", fail)
    for arguments in (
        ["predict", "images"],
        ["export", "timm", "out", "--weights", str(weights)],
        ["import", "timm", "source", "out"],
    ):
        with pytest.raises(UserError) as caught:
            main(arguments)
        assert one_line(caught.value) == "not enough memory (512 bytes); close other programs"
    assert not (folder / "out").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_output_to_a_full_disk_is_one_line(folder, project, weights):
    with Path("/dev/full").open("w") as full:
        run = subprocess.run(
            [sys.executable, "-m", "vit_hk", "predict", "images", "--weights", str(weights)],
            cwd=folder, stdout=full, stderr=subprocess.PIPE, text=True, check=False,
            env={"PYTHONPATH": str(project), "PATH": "", "JAX_NUM_CPU_DEVICES": "2"},
        )  # fmt: skip
    message = "error: the output could not be written: No space left on device; make room there\n"
    assert run.returncode == 1
    assert run.stderr.endswith(message)
    assert "Traceback" not in run.stderr


def test_number_of_devices_that_is_none_is_one_line(folder, project):
    run = subprocess.run(
        [sys.executable, "-m", "vit_hk", "predict", "images"], cwd=folder, capture_output=True,
        text=True, check=False, env={"PYTHONPATH": str(project), "JAX_NUM_CPU_DEVICES": "two"},
    )  # fmt: skip
    assert (run.returncode, run.stderr.count("\n")) == (1, 1)
    assert run.stderr.startswith("error: JAX_NUM_CPU_DEVICES is 'two'; allowed: a whole number")


@pytest.mark.usefixtures("folder")
def test_missing_weights_are_named():
    with pytest.raises(UserError, match=r"^models/vit\.safetensors is not there; "):
        main(["predict", "images"])
