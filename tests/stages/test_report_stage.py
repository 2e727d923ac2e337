import json

import numpy as np
import pytest

from vit_hk.report.gallery import FIGURES

STAGE = "report"


@pytest.fixture(scope="module")
def page(finished) -> str:
    return (finished[0] / "results" / "report.html").read_text("utf-8")


def test_report_ends_well(finished, page):
    ended = finished[1][STAGE]
    assert ended.code == 0, ended.err
    assert ended.err == ""
    assert ended.out == f"results/report.html: {len(page.encode()):,} bytes\n"


def test_same_results_give_the_same_bytes(here, copy, page):
    assert here(STAGE, copy).code == 0
    assert (copy / "results" / "report.html").read_text("utf-8") == page


def test_nothing_of_this_machine_is_in_the_page(finished, page):
    assert str(finished[0]) not in page
    assert finished[0].name not in page


def test_nothing_is_fetched(page):
    assert "http:" not in page
    assert "https:" not in page
    assert "default-src 'none'" in page


def test_accuracy_and_changed_settings_stand_on_top(finished, page):
    metrics = json.loads((finished[0] / "results" / "metrics.json").read_text("utf-8"))["test"]
    top = page.split("<main>")[0]
    assert f"{100 * metrics['accuracy']:.2f} % of 18 test images" in " ".join(top.split())
    assert "<code>model.pool</code> <strong>gap</strong> <span>shipped: cls</span>" in top
    assert "model.dropout" not in top  # as shipped
    assert "model.pool=gap" in page.split("<title>")[1].split("</title>")[0]


def test_number_of_parameters_is_that_of_training(finished, page):
    said = finished[1]["train"].out.split(" parameters")[0].splitlines()[-1]
    assert f"{said} parameters," in page


def test_the_sample_is_named_loudly_and_other_data_is_not(here, copy, page):
    assert "Not full MNIST" not in page
    path = copy / "data" / "dataset.npz"
    with np.load(path) as file:
        arrays = dict(file)
    arrays["source"] = np.array("offline sample of 5,000 digits")
    np.savez(path, **arrays)
    weights = copy / "models" / "vit.safetensors"
    # The source stands in a header that starts with its length.
    content = weights.read_bytes().replace(b"made for a test", b"offline sample of 5,000 digits")
    length = int.from_bytes(content[:8], "little") + len("offline sample of 5,000 digits") - 15
    weights.write_bytes(length.to_bytes(8, "little") + content[8:])
    ended = here(STAGE, copy)
    assert ended.code == 0, ended.err
    top = (copy / "results" / "report.html").read_text("utf-8").split("<h1>")[0]
    assert "<strong>Not full MNIST.</strong>" in top


READ = {
    "data/dataset.npz": "download",
    "models/vit.safetensors": "train",
    "results/history.csv": "train",
    "results/snapshots.png": "train",
    "results/metrics.json": "evaluate",
    "results/per_class.csv": "evaluate",
    "results/confusion.csv": "evaluate",
    "results/faithfulness.png": "evaluate",
    "results/attention/attention.npz": "attention",
    "results/attention/distance.png": "attention",
}


@pytest.mark.parametrize("name", READ)
def test_missing_file_is_named_with_the_stage_that_makes_it(here, refused, copy, name):
    (copy / name).unlink()
    line = refused(here, STAGE, copy)
    assert f"{name} is not there; make it with: dvc repro {READ[name]}" in line


@pytest.mark.parametrize("name", READ)
@pytest.mark.parametrize("content", [b"", b"\0\xff,"], ids=["empty", "garbage"])
def test_damaged_file_is_named(here, refused, copy, name, content):
    (copy / name).write_bytes(content)
    line = refused(here, STAGE, copy)
    assert name in line
    assert READ[name] in line


@pytest.mark.parametrize(
    "name", [name for name in READ if not name.endswith(("png", "history.csv"))]
)
def test_half_a_file_is_named(here, refused, copy, name):
    content = (copy / name).read_bytes()
    (copy / name).write_bytes(content[: len(content) // 2])
    assert name in refused(here, STAGE, copy)


def test_classes_of_other_data_are_refused(here, refused, copy):
    path = copy / "results" / "per_class.csv"
    path.write_text(path.read_text("utf-8").replace("middle", "centre"), "utf-8")
    assert "results/per_class.csv is damaged (not the classes" in refused(here, STAGE, copy)


def test_each_figure_is_in_the_page_but_those_that_the_page_draws_itself(finished):
    results = finished[0] / "results"
    drawn = {path.relative_to(finished[0]) for path in results.rglob("*.png")}
    own = {"curves.png", "confusion.png", "per_class.png", "mistakes.png", "overview.png"}
    sheets = {path for path in drawn if path.name.startswith("image_") or path.name in own}
    assert {figure.path for figure in FIGURES} == drawn - sheets


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


def test_the_record_of_speed_changes_nothing(here, copy, page):
    (copy / "results" / "timing.json").unlink()
    assert here(STAGE, copy).code == 0
    assert (copy / "results" / "report.html").read_text("utf-8") == page
