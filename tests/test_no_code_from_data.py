"""No file that is read can run code: no pickle, no eval, no shell in vit_hk/ and stages/."""

import ast
import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
FILES = sorted(
    path.relative_to(PROJECT)
    for folder in ("stages", "vit_hk")
    for path in (PROJECT / folder).rglob("*.py")
)
FOLDERS = {
    "stages", "vit_hk", "vit_hk/commands", "vit_hk/data", "vit_hk/data/sources", "vit_hk/dvc",
    "vit_hk/explain", "vit_hk/figures", "vit_hk/formats", "vit_hk/kernels", "vit_hk/model",
    "vit_hk/report", "vit_hk/runtime", "vit_hk/training",
}  # fmt: skip
MODULES = {
    "pickle",
    "cPickle",
    "dill",
    "cloudpickle",
    "joblib",
    "marshal",
    "shelve",
    "subprocess",
    "pty",
    "runpy",
}
CALLS = re.compile(
    r"eval|exec|compile|__import__|os\.(system|popen|exec\w*|spawn\w*|posix_spawn\w*)"
    r"|yaml\.(?!safe_)\w*load\w*|torch\.load|(pd|pandas)\.read_pickle|importlib\.import_module"
    r"|pickle\.load"
)
FLAGS = {"shell", "allow_pickle"}


def find_unsafe_code(code: str) -> list[str]:
    """Return what may run data: imports, calls by their full name, and flags other than False."""
    found = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [getattr(node, "module", None) or "", *(alias.name for alias in node.names)]
            found += [name for name in names if name.split(".")[0] in MODULES]
            found += filter(CALLS.fullmatch, (f"{names[0]}.{part}" for part in names[1:]))
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            found += [name] if CALLS.fullmatch(name) else []
            # Its third argument is `allow_pickle`, which must be written with its name.
            found += [f"{name} by position"] if name == "np.load" and len(node.args) > 1 else []
            found += [
                f"{name}({keyword.arg})"
                for keyword in node.keywords
                if keyword.arg in FLAGS and ast.unparse(keyword.value) != "False"
            ]
    return found


ALLOWED = {
    # It starts `coordinator.py` beside it, with a port and a number; no text of a file reaches it.
    "vit_hk/runtime/cluster.py": ["subprocess"],
    # They import modules of the project, whose names stand in them.
    "vit_hk/__init__.py": ["importlib.import_module"],
    "vit_hk/__main__.py": ["importlib.import_module"],
}


@pytest.mark.parametrize("path", FILES, ids=str)
def test_file_runs_no_data(path):
    found = find_unsafe_code((PROJECT / path).read_text("utf-8"))
    assert found == ALLOWED.get(str(path), [])


@pytest.mark.parametrize(
    "code",
    [
        "import pickle", "from pickle import loads", "import subprocess as s", "eval(text)",
        "exec(text)", "os.system(name)", "run(name, shell=True)", "run(name, shell=flag)",
        "np.load(path, allow_pickle=True)", "yaml.load(text, Loader)", "torch.load(path)",
        "from os import system", "from importlib import import_module as load",
        "np.load(path, None, True)", "yaml.unsafe_load_all(text)", "yaml.load_all(text, Loader)",
        "os.execve(path, arguments, {})", "from os import posix_spawn", "import runpy",
    ],
)  # fmt: skip
def test_unsafe_code_is_found(code):
    assert find_unsafe_code(code) != []


def test_safe_code_is_accepted():
    lines = ["import re", "re.compile(a)", "yaml.safe_load(text)", "weights.compile()"]
    assert find_unsafe_code("\n".join([*lines, "np.load(path, allow_pickle=False)"])) == []


def test_all_folders_are_checked():
    assert {str(path.parent) for path in FILES} >= FOLDERS
    assert len(FILES) > 100
