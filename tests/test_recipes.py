"""The recipes: a head that states what to expect, and settings that are valid."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
import yaml
from settings_file import change_settings

from vit_hk.model.size import count_parameters
from vit_hk.params import Config, load_config
from vit_hk.runtime.launcher_variables import ADDRESS, COUNT, INDEX

FOLDER = Path(__file__).parents[1] / "recipes"
RECIPES = sorted(path for path in FOLDER.iterdir() if path.is_file())
CLUSTER = sorted(path for path in (FOLDER / "cluster").iterdir() if path.is_file())


def head(path: Path) -> str:
    """Return the comment at the start of a recipe."""
    lines = path.read_text("utf-8").splitlines()
    end = next(number for number, line in enumerate(lines) if not line.startswith("#"))
    return "\n".join(lines[:end])


def settings_lines(path: Path) -> list[str]:
    """Return the lines of a recipe without comments and empty lines."""
    lines = path.read_text("utf-8").splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
@pytest.mark.parametrize(
    "pattern",
    [r"\bdvc (repro|exp run)\b", r"\b(seconds?|minutes?|hours?)\b", r"\b(cores?|GPUs?)\b", r"\d %"],
    ids=["command", "time", "machine", "accuracy"],
)
def test_head_states_what_to_expect(path, pattern):
    assert re.search(pattern, head(path))


@pytest.fixture
def with_changes(project, tmp_path):
    """Return a function that loads the default settings with options -S key=value of DVC."""

    def load(options: str) -> Config:
        words = shlex.split(options)
        assert set(words[::2]) <= {"-S"}
        changes = dict(change.split("=") for change in words[1::2])
        params = tmp_path / "params.yaml"
        shutil.copy(project / "recipes" / "default.yaml", params)
        change_settings(
            params,
            {key.replace(".", "__"): yaml.safe_load(value) for key, value in changes.items()},
        )
        return load_config(params)  # which refuses unknown keys

    return load


# Recipe of one line -> shape of its images.
IMAGE_SHAPES = {
    "best.txt": (28, 28, 1),
    "cifar10.txt": (32, 32, 3),
    "cifar10_long.txt": (32, 32, 3),
    "fashion_mnist.txt": (28, 28, 1),
}


def test_each_recipe_of_one_line_is_tested():
    one_line = {path.name for path in RECIPES if len(settings_lines(path)) == 1}
    assert one_line == IMAGE_SHAPES.keys()


@pytest.mark.parametrize("name", IMAGE_SHAPES)
def test_recipe_is_valid_and_has_at_most_a_million_parameters(project, with_changes, name):
    (line,) = settings_lines(project / "recipes" / name)
    model, shape = with_changes(line).model, IMAGE_SHAPES[name]
    assert all(size % model.patch_size == 0 for size in shape[:2])
    assert count_parameters(model, shape, 10) <= 1_000_000


def test_rows_of_the_ablation_are_distinct_settings(project, with_changes):
    rows = settings_lines(project / "recipes" / "ablation.txt")
    names, options = zip(*(row.partition(" ")[::2] for row in rows), strict=True)
    settings = [with_changes(row).model_dump_json() for row in options]
    assert len(set(names)) == len(set(settings)) == len(rows)


@pytest.mark.parametrize("path", CLUSTER, ids=lambda path: path.name)
def test_files_for_clusters_state_their_command(path):
    assert re.search(rf"Command: .*recipes/cluster/{path.name}", path.read_text("utf-8"))


def test_processes_of_kubernetes_are_as_many_as_they_are_told():
    service, job = yaml.safe_load_all((FOLDER / "cluster" / "kubernetes.yaml").read_text("utf-8"))
    spec = job["spec"]
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    variables = {entry["name"]: entry.get("value") for entry in container["env"]}
    assert variables.keys() == {ADDRESS, COUNT, INDEX}
    assert int(variables[COUNT]) == spec["completions"] == spec["parallelism"]
    assert service["metadata"]["name"] == pod["subdomain"]
    assert service["spec"]["selector"] == {"job-name": job["metadata"]["name"]}
    host = f"{job['metadata']['name']}-0.{pod['subdomain']}"
    assert variables[ADDRESS].partition(":")[0] == host


def test_search_changes_settings_that_exist(project):
    settings = yaml.safe_load((project / "params.yaml").read_text("utf-8"))
    code = (FOLDER / "cluster" / "search.py").read_text("utf-8")
    names = re.findall(r'"(\w+)\.(\w+)": trial', code)
    assert names
    assert all(key in settings[section] for section, key in names)
