"""pyproject.toml beside the pinned requirements, and the content of the package."""

import contextlib
import importlib.metadata
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def pins(path: Path) -> dict[str, str]:
    """Return the versions that a requirements file pins, by package; each line must pin one."""
    lines = [line.partition("#")[0].strip() for line in path.read_text("utf-8").splitlines()]
    lines = [line for line in lines if line and not line.startswith(("-r ", "-c "))]
    pinned = [re.fullmatch(r"([\w.-]+)(?:\[[\w,]+\])?==([\w.]+)", line) for line in lines]
    assert None not in pinned, f"{path.name} pins no version: {lines[pinned.index(None)]}"
    return {canonicalize_name(found[1]): found[2] for found in pinned}


@pytest.fixture(scope="module")
def dependencies(project) -> list[Requirement]:
    metadata = tomllib.loads((project / "pyproject.toml").read_text("utf-8"))
    return [Requirement(text) for text in metadata["project"]["dependencies"]]


def test_each_dependency_is_pinned_to_a_version_that_it_allows(project, dependencies):
    pinned = pins(project / "requirements.txt")
    assert {canonicalize_name(dependency.name) for dependency in dependencies} == set(pinned)
    for dependency in dependencies:
        version = pinned[canonicalize_name(dependency.name)]
        assert dependency.specifier.contains(version), f"{dependency} does not allow {version}"


def test_all_that_pinned_packages_need_is_pinned(project):
    kinds = ("", "-dev", "-bench", "-gpu")
    files = ["constraints.txt", *(f"requirements{kind}.txt" for kind in kinds)]
    pinned = {name for file in files for name in pins(project / file)}
    needed = set()
    for name in pinned:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):  # of other environments
            for requirement in map(Requirement, importlib.metadata.requires(name) or []):
                if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                    needed.add(canonicalize_name(requirement.name))
    unpinned = needed - pinned - {"pip", "setuptools"}
    # PyTorch's build for CUDA needs packages of NVIDIA's that its build for CPUs does not.
    assert not [name for name in unpinned if not name.startswith(("nvidia", "cuda", "triton"))]


def test_no_package_is_pinned_twice(project):
    transitive = pins(project / "constraints.txt")
    files = ["requirements.txt", "requirements-dev.txt", "requirements-bench.txt"]
    direct = [name for file in files for name in pins(project / file)]
    assert len(set(direct)) == len(direct)
    assert not set(direct) & set(transitive)


def test_wheel_holds_the_library_with_its_page_and_no_stage(project, tmp_path):
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=project, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    files = {path.name for path in (project / "vit_hk/report").iterdir() if path.is_file()}
    assert {name.removeprefix("vit_hk/report/") for name in names} >= files
    assert "vit_hk/model/reference.py" in names
    assert not [name for name in names if name.startswith(("stages", "tests", "benchmarks"))]
