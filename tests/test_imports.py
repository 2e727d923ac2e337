"""Which modules each stage imports, and that dvc.yaml lists them as dependencies."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

# In this order: first what may not import JAX, last what may import torch.
STAGES = ("report", "check", "train", "evaluate", "attention", "download")
# Folders and modules that must not import JAX, Haiku, optax or torch.
WITHOUT_JAX = (
    "vit_hk/compare", "vit_hk/data", "vit_hk/figures", "vit_hk/report", "vit_hk/atomic.py",
    "vit_hk/errors.py", "vit_hk/metrics.py", "vit_hk/params.py", "vit_hk/timing.py",
    "vit_hk/weights_metadata.py",
)  # fmt: skip
# One process for all: large packages are imported once, modules of the project for each stage.
LIST_IMPORTS = f"""
import importlib, json, sys

def own():
    return [name for name in sys.modules if name.split(".")[0] in ("vit_hk", "stages")]

def large():
    names = ("jax", "haiku", "optax", "torch", "torchvision", "sklearn", "mlxtend")
    return [name for name in names if name in sys.modules]

found = {{}}
for name in sys.argv[1:]:
    importlib.import_module(name)
found["without_jax"] = {{"large": large()}}
for stage in {STAGES!r}:
    for name in own():
        del sys.modules[name]
    importlib.import_module(f"stages.{{stage}}")
    found[stage] = {{"own": own(), "large": large()}}
print(json.dumps(found))
"""


def python_files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py")) if folder.is_dir() else [folder]


def module_name(path: Path, project: Path) -> str:
    name = ".".join(path.relative_to(project).with_suffix("").parts)
    return name.removesuffix(".__init__")


@pytest.fixture(scope="module")
def imported(project) -> dict[str, dict[str, list[str]]]:
    """Return the modules of the project and the large packages that each stage imports."""
    files = [file for name in WITHOUT_JAX for file in python_files(project / name)]
    run = subprocess.run(
        [sys.executable, "-c", LIST_IMPORTS, *(module_name(file, project) for file in files)],
        cwd=project, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(run.stdout)


@pytest.fixture(scope="module")
def pipeline(project) -> dict:
    """Return the stages of dvc.yaml."""
    return yaml.safe_load((project / "dvc.yaml").read_text("utf-8"))["stages"]


def test_data_figures_report_and_tables_import_no_jax(imported):
    assert imported["without_jax"]["large"] == []


def test_report_imports_no_jax(imported):
    assert imported["report"]["large"] == []


@pytest.mark.parametrize("stage", ["train", "evaluate", "attention"])
def test_stage_imports_no_torch(imported, stage):
    # Nor what only tests and the offline sample need.
    assert not {"torch", "torchvision", "sklearn", "mlxtend"} & set(imported[stage]["large"])


@pytest.mark.parametrize("stage", ["train", "evaluate"])
def test_training_and_evaluation_know_no_figures_and_no_report(imported, pipeline, stage):
    # Otherwise a change of a picture would train or evaluate again.
    drawing = ("vit_hk.figures", "vit_hk.report")
    assert [name for name in imported[stage]["own"] if name.startswith(drawing)] == []
    dependencies = [d.replace("/", ".") for d in pipeline[stage]["deps"]]
    assert [d for d in dependencies if d == "vit_hk" or d.startswith(drawing)] == []


def has_only_a_docstring(path: Path) -> bool:
    body = ast.parse(path.read_text("utf-8")).body
    return all(isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) for node in body)


def files_of_modules(project: Path, modules: list[str]) -> set[str]:
    """Return the files of modules, without an __init__.py that holds no code.

    Nor is that of vit_hk among them, which has a name for people that no stage uses.
    """
    paths = set()
    for module in modules:
        path = project / module.replace(".", "/")
        file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if file == project / "vit_hk/__init__.py":
            continue
        if file.name != "__init__.py" or not has_only_a_docstring(file):
            paths.add(str(file.relative_to(project)))
    return paths


def covers(dependency: str, path: str) -> bool:
    return path == dependency or path.startswith(f"{dependency}/")


@pytest.mark.parametrize("stage", STAGES)
def test_all_imported_code_is_a_dependency(imported, pipeline, project, stage):
    loaded = files_of_modules(project, imported[stage]["own"])
    assert f"stages/{stage}.py" in loaded
    missing = {p for p in loaded if not any(covers(d, p) for d in pipeline[stage]["deps"])}
    assert missing == set()


@pytest.mark.parametrize("stage", STAGES)
def test_each_dependency_on_code_is_imported(imported, pipeline, project, stage):
    loaded = files_of_modules(project, imported[stage]["own"])
    code = [d for d in pipeline[stage]["deps"] if d.startswith(("vit_hk", "stages"))]
    assert [d for d in code if not any(covers(d, path) for path in loaded)] == []
    assert [d for d in code if any(covers(other, d) for other in code if other != d)] == []
    assert len(set(code)) == len(code)


def test_template_script_and_style_of_the_page_are_dependencies_of_the_report(pipeline, project):
    folder = project / "vit_hk" / "report"
    files = [p for p in folder.rglob("*") if p.suffix in (".css", ".html", ".js")]
    names = [str(path.relative_to(project)) for path in files]
    assert len(names) >= 3
    assert all(any(covers(d, name) for d in pipeline["report"]["deps"]) for name in names)


def test_own_modules_are_imported_at_the_top_of_files(project):
    # The checks above do not see what a function imports when it is called.
    for path in [*python_files(project / "vit_hk"), *python_files(project / "stages")]:
        tree = ast.parse(path.read_text("utf-8"))
        for node in ast.walk(tree):
            if node not in tree.body and isinstance(node, ast.Import | ast.ImportFrom):
                names = [getattr(node, "module", None) or "", *(alias.name for alias in node.names)]
                assert not any(n.startswith(("vit_hk", "stages")) for n in names), path


def output_names(stage: dict) -> list[str]:
    return [next(iter(out)) if isinstance(out, dict) else out for out in stage["outs"]]


def test_outputs_are_dependencies_of_the_stages_that_read_them(pipeline):
    assert output_names(pipeline["download"]) == ["data/dataset.npz"]
    for stage in ("train", "evaluate", "attention", "report"):
        assert "data/dataset.npz" in pipeline[stage]["deps"]
    for stage in ("evaluate", "attention"):
        assert "models/vit.safetensors" in pipeline[stage]["deps"]
    for stage in ("train", "evaluate", "attention"):
        for name in output_names(pipeline[stage]):
            read = {name, str(Path(name).parent)}  # the file, or its folder
            assert read & set(pipeline["report"]["deps"])
