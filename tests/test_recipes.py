import copy
import shlex

import yaml

from vit_hk.model.vit import count_parameters
from vit_hk.params import Params, load_params


def with_changes(project, arguments: str) -> Params:
    """The settings of params.yaml with changes as `dvc exp run` takes them: -S key=value …"""
    tree = copy.deepcopy(load_params(project / "params.yaml").model_dump())
    words = shlex.split(arguments)
    assert set(words[::2]) <= {"-S"}
    for change in words[1::2]:
        path, value = change.split("=")
        *sections, key = path.split(".")
        section = tree
        for name in sections:
            section = section[name]
        assert key in section
        section[key] = yaml.safe_load(value)
    return Params.model_validate(tree)


def test_best_has_at_most_a_million_parameters(project):
    best = with_changes(project, (project / "recipes/best.txt").read_text("utf-8"))
    assert count_parameters(best.model, (28, 28, 1), 10) <= 1_000_000


def test_each_row_of_the_ablation_is_a_setting_of_its_own(project):
    rows = (project / "recipes/ablation.txt").read_text("utf-8").splitlines()
    names, changes = zip(*(row.partition(" ")[::2] for row in rows), strict=True)
    settings = [with_changes(project, change).model_dump_json() for change in changes]
    assert len(set(names)) == len(set(settings)) == len(rows)
