import json

import numpy as np
import pandas as pd
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from vit_hk.report.captions import GALLERY

STAGE = "report"


@pytest.fixture(scope="module")
def page(finished) -> str:
    return (finished[0] / "results" / "report.html").read_text("utf-8")


def test_report_succeeds(finished, page):
    run = finished[1][STAGE]
    assert run.code == 0, run.err
    assert run.err == ""
    assert run.out == f"results/report.html: {len(page.encode()):,} bytes\n"


def test_same_results_give_the_same_bytes_whatever_the_timing(here, copy, page):
    (copy / "results" / "timing.json").unlink()
    folder = copy / "results" / "figures"
    figures = {path: path.read_bytes() for path in folder.rglob("*.png")}
    assert here(STAGE, copy).code == 0
    assert (copy / "results" / "report.html").read_text("utf-8") == page
    for path in folder.rglob("*.png"):
        assert path.read_bytes() == figures.pop(path)
    assert figures == {}


def test_page_holds_no_path_of_this_machine(finished, page):
    assert str(finished[0]) not in page
    assert finished[0].name not in page


def test_page_loads_nothing_from_a_network(page):
    assert "http:" not in page
    assert "https:" not in page
    assert "default-src 'none'" in page


def test_header_states_accuracy_and_changed_settings(finished, page):
    metrics = json.loads((finished[0] / "results" / "metrics.json").read_text("utf-8"))["test"]
    top = page.split("<main>")[0]
    assert f"{100 * metrics['accuracy']:.2f} % of 18 test images" in " ".join(top.split())
    assert "<code>model.pool</code> <strong>gap</strong> <span>default: cls</span>" in top
    assert "trained on 36 images (source:" in " ".join(top.split())  # 12 of 48 are held out
    assert "model.dropout" not in top  # has its default value
    assert "model.pool=gap" in page.split("<title>")[1].split("</title>")[0]


def test_number_of_parameters_is_the_one_that_training_prints(finished, page):
    printed = finished[1]["train"].out.split(" parameters")[0].splitlines()[-1]
    assert f"{printed} parameters," in page


@pytest.fixture
def without_figures(monkeypatch) -> None:
    """Let the stage draw no figure; those from before stay."""
    monkeypatch.setattr("vit_hk.report.figures.draw_figures", lambda *_, **__: None)


@pytest.mark.usefixtures("without_figures")
def test_page_warns_of_the_offline_sample_and_of_no_other_data(here, copy, page):
    assert "Not full MNIST" not in page
    path = copy / "data" / "dataset.npz"
    with np.load(path) as file:
        arrays = dict(file)
    old, new = str(arrays["source"]), "offline sample of 5,000 digits"
    np.savez(path, **arrays | {"source": np.array(new)})
    weights = copy / "models" / "vit.safetensors"
    # The source is in the header, whose length is in the first eight bytes.
    content = weights.read_bytes().replace(old.encode(), new.encode())
    length = int.from_bytes(content[:8], "little") + len(new) - len(old)
    weights.write_bytes(length.to_bytes(8, "little") + content[8:])
    run = here(STAGE, copy)
    assert run.code == 0, run.err
    top = (copy / "results" / "report.html").read_text("utf-8").split("<h1>")[0]
    assert "<strong>Not full MNIST.</strong>" in top


INPUTS = {
    "data/dataset.npz": "download",
    "models/vit.safetensors": "train",
    "results/history.csv": "train",
    "results/snapshots.npz": "train",
    "results/metrics.json": "evaluate",
    "results/per_class.csv": "evaluate",
    "results/predictions.csv": "evaluate",
    "results/faithfulness.csv": "evaluate",
    "results/corruptions.csv": "evaluate",
    "results/attention/attention.npz": "attention",
    "results/attention/mean_attention.npz": "attention",
    "results/attention/distance.png": "attention",
}


@pytest.mark.parametrize("name", INPUTS)
def test_missing_file_is_named_with_the_stage_that_makes_it(here, refused, copy, name):
    (copy / name).unlink()
    line = refused(here, STAGE, copy)
    assert f"{name} is not there; make it with: dvc repro {INPUTS[name]}" in line


@pytest.mark.parametrize("name", [name for name in INPUTS if not name.endswith("png")])
@pytest.mark.parametrize("content", [b"", b"\0\xff,"], ids=["empty", "garbage"])
def test_damaged_file_is_named(here, refused, copy, name, content):
    (copy / name).write_bytes(content)
    line = refused(here, STAGE, copy)
    assert name in line
    assert INPUTS[name] in line


@pytest.mark.parametrize("name", [name for name in INPUTS if not name.endswith("png")])
def test_half_a_file_is_named(here, refused, copy, name):
    content = (copy / name).read_bytes()
    (copy / name).write_bytes(content[: len(content) // 2])
    assert name in refused(here, STAGE, copy)


def test_weights_without_calibration_are_refused(here, refused, copy):
    path = copy / "models" / "vit.safetensors"
    with safe_open(path, "np") as file:
        names = [name for name in file.keys() if not name.startswith("calibration/")]  # noqa: SIM118
        save_file({name: file.get_tensor(name) for name in names}, path, file.metadata())
    line = refused(here, STAGE, copy)
    assert "models/vit.safetensors lacks the calibration that train adds; make it again" in line


def test_classes_of_other_data_are_refused(here, refused, copy):
    path = copy / "results" / "per_class.csv"
    path.write_text(path.read_text("utf-8").replace("middle", "centre"), "utf-8")
    assert "results/per_class.csv is damaged (not the classes" in refused(here, STAGE, copy)


@pytest.mark.usefixtures("without_figures")
def test_score_of_no_image_is_a_dash(here, copy):
    predictions = copy / "results" / "predictions.csv"
    table = pd.read_csv(predictions)
    table["predicted"] = table["actual"].iloc[0]  # of the other classes, precision is unknown
    table.to_csv(predictions, index=False)
    assert here("report", copy).code == 0
    page = (copy / "results" / "report.html").read_text("utf-8")
    scores = page[page.index("Scores of each class") :]
    assert scores[: scores.index("</table>")].count("</th><td>–</td>") == 2


def test_gallery_has_each_figure_that_the_page_does_not_show_in_another_form(finished):
    results = finished[0] / "results"
    drawn = {
        (stage, path.name)
        for stage, folder in (("attention", "attention"), ("report", "figures"))
        for path in (results / folder).glob("*.png")
    }
    # As charts, tables or in the explorer.
    other_form = {"curves.png", "confusion.png", "per_class.png", "mistakes.png", "overview.png"}
    expected = {(stage, name) for stage, name in drawn if name not in other_form}
    assert {(figure.stage, figure.name) for figure in GALLERY} == expected


def test_other_settings_than_those_of_the_weights_are_refused(here, refused, copy, edit):
    edit(model__dropout=0.5)
    assert "models/vit.safetensors was trained with other settings" in refused(here, STAGE, copy)


def test_attention_of_other_images_is_refused(here, refused, copy):
    path = copy / "results" / "attention" / "attention.npz"
    with np.load(path) as file:
        arrays = dict(file)
    arrays["images"] = arrays["images"][::-1]
    np.savez(path, **arrays)
    assert "its images are not those of the data set" in refused(here, STAGE, copy)
