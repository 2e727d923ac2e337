"""Nothing that is read is ever run: no pickle, no eval, no shell."""

import ast
from pathlib import Path

import pytest

FILES = sorted(
    path
    for room in ("stages", "vit_hk")
    for path in (Path(__file__).parents[1] / room).rglob("*.py")
)
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
}
CALLS = {
    "eval", "exec", "compile", "__import__", "os.system", "os.popen", "os.exec", "os.execv",
    "os.execvp", "os.spawnl", "os.spawnv", "yaml.load", "yaml.full_load", "yaml.unsafe_load",
    "torch.load", "pd.read_pickle", "pandas.read_pickle", "importlib.import_module", "pickle.load",
}  # fmt: skip
FLAGS = {"shell", "allow_pickle"}


def findings(code: str) -> list[str]:
    """What runs data, or might: imports, calls by their full name, and flags that are not False."""
    found = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [getattr(node, "module", None) or "", *(alias.name for alias in node.names)]
            found += [name for name in names if name.split(".")[0] in MODULES]
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            found += [name] if name in CALLS else []
            found += [
                f"{name}({word.arg})"
                for word in node.keywords
                if word.arg in FLAGS and ast.unparse(word.value) != "False"
            ]
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_file_runs_nothing_that_it_reads(path):
    assert findings(path.read_text("utf-8")) == []


@pytest.mark.parametrize(
    "code",
    [
        "import pickle", "from pickle import loads", "import subprocess as s", "eval(text)",
        "exec(text)", "os.system(name)", "run(name, shell=True)", "run(name, shell=flag)",
        "np.load(path, allow_pickle=True)", "yaml.load(text, Loader)", "torch.load(path)",
    ],
)  # fmt: skip
def test_each_of_these_would_be_found(code):
    assert findings(code) != []


def test_plain_code_is_no_finding():
    plain = "import re\nre.compile(a)\nnp.load(path, allow_pickle=False)\nweights.compile()"
    assert findings(plain) == []


def test_all_files_are_looked_at():
    assert len(FILES) > 40
