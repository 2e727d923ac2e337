import os
import shutil
import subprocess
import sys

import pytest

from vit_hk.kernels import object_cache

# Prints each access to the object cache, then the result of a kernel.
PROGRAM = """
from vit_hk.runtime.devices import configure_jax
configure_jax("cpu")
from vit_hk.kernels import object_cache
load, store = object_cache.load, object_cache.store
object_cache.load = lambda name: print("load", bool(code := load(name))) or code
object_cache.store = lambda name, code: print("store") or store(name, code)
import numpy as np
from vit_hk.kernels.linear import linear
x = np.arange(6, dtype=np.float32).reshape(2, 3)
print(np.asarray(linear(x, np.ones((3, 16), np.float32), np.ones(16, np.float32)))[:, 0])
"""
RESULT = "[ 4. 13.]\n"
CACHE_MISS, CACHE_HIT = "load False\nstore\n" + RESULT, "load True\n" + RESULT


@pytest.fixture
def run_kernel(project, tmp_path, monkeypatch):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)

    def run(folder=project, before="", **environment):
        process = subprocess.run(
            [sys.executable, "-c", before + PROGRAM], cwd=folder, capture_output=True, text=True,
            env=os.environ | {"DVC_ROOT": str(tmp_path)} | environment, check=True,
        )  # fmt: skip
        assert "Traceback" not in process.stderr  # JAX warns about its own cache
        return process.stdout

    return run


def only_file(folder):
    (file,) = folder.glob("*.kernel")
    return file


def test_another_process_compiles_again_only_what_is_damaged(run_kernel, tmp_path):
    # In the folder of JAX's compilation cache.
    chosen = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "chosen")}
    assert run_kernel(**chosen) == CACHE_MISS
    file = only_file(tmp_path / "chosen")
    os.utime(file, (1, 1))
    assert run_kernel(**chosen) == CACHE_HIT
    assert file.stat().st_mtime > 1  # so that those which are used are the last to be removed
    content = file.read_bytes()
    file.write_bytes(content[:500] + bytes([content[500] ^ 4]) + content[501:])
    assert run_kernel(**chosen) == CACHE_MISS
    assert file.read_bytes() == content


def test_damaged_code_is_as_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(object_cache, "_folder", lambda: tmp_path)
    object_cache.store("name", b"machine code")
    file = only_file(tmp_path)
    stored = file.read_bytes()
    assert object_cache.load("name") == b"machine code"
    for damaged in (b"", stored[:-1], stored + b"x", stored[:40], b"x" + stored[1:]):
        file.write_bytes(damaged)
        assert object_cache.load("name") is None


def test_code_that_cannot_be_stored_is_missing(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("a file, not a folder")
    monkeypatch.setattr(object_cache, "_folder", lambda: tmp_path / "file")
    object_cache.store("name", b"machine code")
    assert object_cache.load("name") is None


CHANGE_A_SOURCE = """
from pathlib import Path
from vit_hk.kernels import compiler
source = Path("vit_hk/kernels/gelu.py")  # which kernel uses which file is not asked
source.write_text(source.read_text("utf-8") + "\\n# another\\n", "utf-8")
"""
OTHER_PROCESSOR = "import llvmlite.binding; llvmlite.binding.get_host_cpu_name = lambda: 'x86-64'\n"


def test_code_is_for_the_imported_source_and_the_processor(run_kernel, project, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(project / "vit_hk", copy / "vit_hk")
    assert run_kernel(copy, CHANGE_A_SOURCE) == CACHE_MISS  # it runs the code from before
    assert run_kernel(copy) == CACHE_MISS
    (copy / "vit_hk/kernels/.#gelu.py").symlink_to("as an editor locks a file")
    assert run_kernel(copy) == CACHE_HIT
    assert run_kernel(copy, OTHER_PROCESSOR) == CACHE_MISS
    assert run_kernel(copy, JAX_ENABLE_COMPILATION_CACHE="false") == CACHE_MISS
