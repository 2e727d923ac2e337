import shlex
import shutil

import pytest
import yaml
from settings_file import change_settings

from vit_hk.model.vit import count_parameters
from vit_hk.params import load_params


@pytest.fixture
def with_changes(project, tmp_path):
    """The settings of params.yaml with changes as `dvc exp run` takes them: -S key=value …"""

    def load(arguments: str):
        words = shlex.split(arguments)
        assert set(words[::2]) <= {"-S"}
        changes = dict(change.split("=") for change in words[1::2])
        params = tmp_path / "params.yaml"
        shutil.copy(project / "params.yaml", params)
        change_settings(
            params,
            {key.replace(".", "__"): yaml.safe_load(value) for key, value in changes.items()},
        )
        return load_params(params)  # refuses a key that is not known

    return load


def test_best_has_at_most_a_million_parameters(project, with_changes):
    best = with_changes((project / "recipes/best.txt").read_text("utf-8"))
    assert count_parameters(best.model, (28, 28, 1), 10) <= 1_000_000


def test_each_row_of_the_ablation_is_a_setting_of_its_own(project, with_changes):
    rows = (project / "recipes/ablation.txt").read_text("utf-8").splitlines()
    names, changes = zip(*(row.partition(" ")[::2] for row in rows), strict=True)
    settings = [with_changes(change).model_dump_json() for change in changes]
    assert len(set(names)) == len(set(settings)) == len(rows)
