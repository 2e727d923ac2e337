"""What is imported, and that dvc.yaml names it as a dependency."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

# What may import JAX comes behind what may not, and last what may import torch.
STAGES = ("report", "train", "evaluate", "attention", "download")
# One process for all: the heavy packages are imported once, those of the project for each stage.
REPORT = f"""
import importlib, json, sys

def ours():
    return [name for name in sys.modules if name.split(".")[0] in ("vit_hk", "stages")]

def heavy():
    names = ("jax", "haiku", "optax", "torch", "torchvision", "sklearn", "mlxtend")
    return [name for name in names if name in sys.modules]

found = {{}}
for name in sys.argv[1:]:
    importlib.import_module(name)
found["figures"] = {{"heavy": heavy()}}
for stage in {STAGES!r}:
    for name in ours():
        del sys.modules[name]
    importlib.import_module(f"stages.{{stage}}")
    found[stage] = {{"ours": ours(), "heavy": heavy()}}
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def imported(project) -> dict[str, dict[str, list[str]]]:
    without_jax = [
        f"vit_hk.figures.{path.stem}" for path in (project / "vit_hk/figures").glob("*.py")
    ]
    without_jax += ["vit_hk.dataset", "vit_hk.evaluation", "vit_hk.params", "vit_hk.sources"]
    run = subprocess.run(
        [sys.executable, "-c", REPORT, *(name.removesuffix(".__init__") for name in without_jax)],
        cwd=project, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(run.stdout)


@pytest.fixture(scope="module")
def pipeline(project) -> dict:
    return yaml.safe_load((project / "dvc.yaml").read_text("utf-8"))["stages"]


def test_figures_tables_and_settings_import_no_jax(imported):
    assert imported["figures"]["heavy"] == []


def test_report_imports_no_jax(imported):
    assert imported["report"]["heavy"] == []


@pytest.mark.parametrize("stage", ["train", "evaluate", "attention"])
def test_stage_imports_no_torch(imported, stage):
    # Nor what only tests and the offline sample need.
    assert not {"torch", "torchvision", "sklearn", "mlxtend"} & set(imported[stage]["heavy"])


def only_docstring(path: Path) -> bool:
    body = ast.parse(path.read_text("utf-8")).body
    return all(isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) for node in body)


def files(project: Path, modules: list[str]) -> set[str]:
    """The files of modules; without __init__.py where it holds no code."""
    paths = set()
    for module in modules:
        path = project / module.replace(".", "/")
        file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if file.name != "__init__.py" or not only_docstring(file):
            paths.add(str(file.relative_to(project)))
    return paths


def covers(dependency: str, path: str) -> bool:
    return path == dependency or path.startswith(f"{dependency}/")


@pytest.mark.parametrize("stage", STAGES)
def test_all_imported_code_is_a_dependency(imported, pipeline, project, stage):
    loaded = files(project, imported[stage]["ours"])
    assert f"stages/{stage}.py" in loaded
    missing = {p for p in loaded if not any(covers(d, p) for d in pipeline[stage]["deps"])}
    assert missing == set()


@pytest.mark.parametrize("stage", STAGES)
def test_no_dependency_on_code_is_in_vain(imported, pipeline, project, stage):
    loaded = files(project, imported[stage]["ours"])
    code = [d for d in pipeline[stage]["deps"] if d.startswith(("vit_hk", "stages"))]
    assert [d for d in code if not any(covers(d, path) for path in loaded)] == []
    assert len(set(code)) == len(code)


def test_all_code_is_imported_at_the_top(project):
    # What a function imports on its way would escape the checks above.
    for path in [*(project / "vit_hk").rglob("*.py"), *(project / "stages").glob("*.py")]:
        tree = ast.parse(path.read_text("utf-8"))
        for node in ast.walk(tree):
            if node not in tree.body and isinstance(node, ast.Import | ast.ImportFrom):
                names = [getattr(node, "module", None) or "", *(alias.name for alias in node.names)]
                assert not any(n.startswith(("vit_hk", "stages")) for n in names), path


def test_each_output_of_a_stage_is_a_dependency_of_those_that_read_it(pipeline):
    assert "data/dataset.npz" in pipeline["download"]["outs"]
    assert "models/vit.safetensors" in pipeline["train"]["outs"]
    for stage in ("train", "evaluate", "attention", "report"):
        assert "data/dataset.npz" in pipeline[stage]["deps"]
    for stage in ("evaluate", "attention", "report"):
        assert "models/vit.safetensors" in pipeline[stage]["deps"]
