import subprocess

from settings_file import change_settings

from vit_hk.params import load_params
from vit_hk.report.settings import SHIPPED, compare_with_shipped


def test_shipped_settings_are_the_committed_ones(project):
    # Against the committed file, so that trying other settings breaks no test.
    committed = subprocess.run(
        ["git", "show", "HEAD:params.yaml"], cwd=project, capture_output=True, check=True
    ).stdout
    assert SHIPPED.read_bytes() == committed, "cp params.yaml vit_hk/report/shipped_params.yaml"


def test_settings_as_shipped_differ_in_nothing():
    assert [s for s in compare_with_shipped(load_params(SHIPPED)) if s.changed] == []


def test_changed_settings_are_written_as_in_the_file(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_bytes(SHIPPED.read_bytes())
    shipped = load_params(SHIPPED).train.epochs
    change_settings(path, {"train__epochs": 3, "model__qk_norm": True, "data__root": "elsewhere"})
    changed = [tuple(s) for s in compare_with_shipped(load_params(path)) if s.changed]
    assert changed == [("model.qk_norm", "true", "false"), ("train.epochs", "3", str(shipped))]
