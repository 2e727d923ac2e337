import os
import subprocess
import sys

import pytest

# Says what it kept and found, besides the result of a kernel.
COMPUTE = """
from vit_hk.device import select_device
select_device("cpu")
from vit_hk.kernels import kept_code
read, keep = kept_code.read, kept_code.keep
kept_code.read = lambda name: print("read", bool(code := read(name))) or code
kept_code.keep = lambda name, code: print("keep") or keep(name, code)
import numpy as np
from vit_hk.kernels.linear import linear
x = np.arange(6, dtype=np.float32).reshape(2, 3)
print(np.asarray(linear(x, np.ones((3, 16), np.float32), np.ones(16, np.float32)))[:, 0])
"""
RESULT = "[ 4. 13.]\n"
COMPILED, FOUND = "read False\nkeep\n" + RESULT, "read True\n" + RESULT


@pytest.fixture
def compute(project, tmp_path, monkeypatch):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)

    def run(**environment):
        run = subprocess.run(
            [sys.executable, "-c", COMPUTE], cwd=project, capture_output=True, text=True,
            env=os.environ | {"DVC_ROOT": str(tmp_path)} | environment, check=True,
        )  # fmt: skip
        assert "Traceback" not in run.stderr  # JAX warns, of what it keeps itself
        return run.stdout

    return run


def kept(folder):
    (file,) = folder.glob("*.kernel")
    return file


def test_another_process_compiles_nothing(compute, tmp_path):
    assert compute() == COMPILED
    assert compute() == FOUND
    assert kept(tmp_path / ".scratch/compiled")


def test_code_is_kept_where_the_user_says(compute, tmp_path):
    chosen = str(tmp_path / "chosen")
    assert compute(JAX_COMPILATION_CACHE_DIR=chosen) == COMPILED
    assert kept(tmp_path / "chosen")


def test_damaged_code_is_compiled_again(compute, tmp_path):
    compute()
    file = kept(tmp_path / ".scratch/compiled")
    whole = file.read_bytes()
    file.write_bytes(whole[:500] + bytes([whole[500] ^ 4]) + whole[501:])
    assert compute() == COMPILED
    assert file.read_bytes() == whole
    file.write_bytes(whole[:500])
    assert compute() == COMPILED


def test_code_that_cannot_be_kept_stops_nothing(compute, tmp_path):
    (tmp_path / ".scratch").write_text("a file, no folder")
    assert compute() == COMPILED
