"""The text of the panel of the attention during training."""

import re
from pathlib import Path

SLIDER = '<label for="training-epoch">'
ONLY_LAST = "Of this training only the last epoch was recorded"


def panel_of(folder: Path) -> str:
    page = (folder / "results" / "report.html").read_text("utf-8")
    panel = page.split('<section class="panel" id="training_maps"')[1].split("</section>")[0]
    return " ".join(panel.split())


def test_of_several_epochs_a_slider_chooses_one(make_report, settings_of_tests):
    panel = panel_of(make_report(settings_of_tests))
    assert f"<div>{SLIDER}" in panel
    assert "after several epochs" in panel
    assert ONLY_LAST not in panel


def test_of_one_epoch_there_is_no_slider(make_report, settings_of_tests, monkeypatch):
    monkeypatch.setattr("synthetic_results.NUM_SNAPSHOTS", 1)
    panel = panel_of(make_report(settings_of_tests))
    assert f"<div hidden>{SLIDER}" in panel
    assert f"{ONLY_LAST}; <code>train.snapshot_epochs</code> records more." in panel
    text = re.sub(r"<script.*?</script>", "", panel)
    assert "several epochs" not in text
    assert "slider" not in text
