"""The stages that look into weights, with weights from elsewhere."""

import json

import pytest

from vit_hk.formats.imported import Overrides
from vit_hk.formats.timm import export_timm, import_timm
from vit_hk.weights import read_weights, save_weights


@pytest.fixture
def imported(copy, edit):
    """Replace the weights of the copy by the same ones after a way through timm's format."""
    path, folder = copy / "models/vit.safetensors", copy / "exported"
    weights = read_weights(path)
    folder.mkdir()
    for name, content in export_timm(weights.params, weights.info).items():
        (folder / name).write_bytes(content)
    back = import_timm(folder, Overrides())
    save_weights(path, back.params, back.info)
    edit(model__position="learned")  # timm's format has no fixed positions


@pytest.mark.usefixtures("imported")
def test_evaluate_gives_the_same_test_metrics_without_validation_and_temperature(here, copy):
    path = copy / "results/metrics.json"
    before = json.loads(path.read_text("utf-8"))
    ended = here("evaluate", copy)
    assert ended.code == 0, ended.err
    after = json.loads(path.read_text("utf-8"))
    assert after["test"]["accuracy"] == before["test"]["accuracy"]
    assert after["test"]["loss"] == pytest.approx(before["test"]["loss"], abs=1e-5)
    assert (after["data"], after["source"]) == (before["data"], before["source"])
    # It is unknown which images the training did not use.
    for name in ("validation", "temperature_scaled"):
        assert name in before
        assert name not in after
        assert (
            f"results/metrics.json: no {name}, since the weights file lacks what it needs"
            in ended.out
        )


@pytest.mark.usefixtures("imported")
def test_attention_runs(here, copy, monkeypatch):
    monkeypatch.setattr("stages.attention_figures.save_figure", lambda *_: None)
    ended = here("attention", copy)
    assert ended.code == 0, ended.err


@pytest.mark.usefixtures("imported")
def test_report_is_refused(here, refused, copy):
    line = refused(here, "report", copy)
    assert "models/vit.safetensors is imported from timm, and the report is about a tr" in line
