import subprocess
from pathlib import Path

import pytest
from settings_file import change_settings

from stages import paths
from vit_hk.params import load_config
from vit_hk.report.settings import compare_with_defaults


@pytest.fixture
def defaults_file(project) -> Path:
    return project / paths.DEFAULT_PARAMS


def test_default_recipe_equals_the_committed_params(project, defaults_file, tmp_path):
    # The committed file, so that a user who tries other settings breaks no test.
    committed = subprocess.run(
        ["git", "show", "HEAD:params.yaml"], cwd=project, capture_output=True, check=True
    ).stdout
    path = tmp_path / "params.yaml"
    path.write_bytes(committed)
    assert load_config(defaults_file) == load_config(path)


def test_default_settings_differ_in_nothing(defaults_file):
    defaults = load_config(defaults_file)
    assert [s for s in compare_with_defaults(defaults, defaults) if s.changed] == []


def test_changed_settings_are_written_as_in_yaml(defaults_file, tmp_path):
    path = tmp_path / "params.yaml"
    path.write_bytes(defaults_file.read_bytes())
    change_settings(path, {"train__epochs": 3, "model__qk_norm": True, "data__root": "elsewhere"})
    defaults = load_config(defaults_file)
    settings = compare_with_defaults(load_config(path), defaults)
    changed = [tuple(setting) for setting in settings if setting.changed]
    epochs = str(defaults.train.epochs)
    assert changed == [("model.qk_norm", "true", "false"), ("train.epochs", "3", epochs)]
