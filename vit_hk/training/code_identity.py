"""The code that determines the results of a stage: its files, and the packages they import.

The list of files is that of dvc.yaml; a test checks that it is complete.
"""

import ast
import hashlib
import importlib.metadata
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from vit_hk.errors import UserError, in_one_line

OWN_PACKAGES = ("stages", "vit_hk")
PROJECT = Path(__file__).parents[2]  # the folder with the code that runs, and its dvc.yaml


class Code(NamedTuple):
    """The code of a stage: its files, and the hash of their content."""

    files: list[Path]
    hash: str


def read_code(project: Path, stage: str) -> Code:
    """Return the code of a stage as it is now.

    Raises:
      UserError: dvc.yaml cannot be read, or has no such stage.
      OSError: a file of the code cannot be read.
    """
    files = stage_code(project, stage)
    return Code(files, hash_code(files))


def stage_code(project: Path, stage: str) -> list[Path]:
    """Return the Python files among the dependencies of a stage in dvc.yaml, sorted.

    Raises:
      UserError: dvc.yaml cannot be read, or has no such stage.
    """
    path = project / "dvc.yaml"
    try:
        dependencies = yaml.safe_load(path.read_text("utf-8"))["stages"][stage]["deps"]
        paths = [project / dependency for dependency in dependencies]
    except (OSError, ValueError, TypeError, LookupError, yaml.YAMLError) as error:
        raise UserError(
            f"{path} does not list the dependencies of the stage {stage} ({in_one_line(error)}); "
            "repair it; what has changed in it shows: git diff dvc.yaml"
        ) from None
    files: set[Path] = set()
    for listed in paths:
        # Without hidden files, among them the dangling links that an editor locks a file with.
        files.update(listed.rglob("[!.]*.py") if listed.is_dir() else [listed])
    return sorted(file for file in files if file.suffix == ".py")


def hash_code(files: Iterable[Path]) -> str:
    """Return the SHA-256 of the content of files, as hexadecimal digits."""
    code = hashlib.sha256()
    for file in files:
        code.update(file.read_bytes())
    return code.hexdigest()


def package_versions(files: Iterable[Path]) -> dict[str, str]:
    """Return the versions of the installed packages that Python files import.

    Included are the packages that these require in turn, since jaxlib runs the computations of
    jax, and JAX's plugins for GPUs, which no package requires.
    """
    distributions = importlib.metadata.packages_distributions()
    modules = _imported_modules(files) | {"jax_plugins"}
    waiting: set[str] = {
        canonicalize_name(name) for module in modules for name in distributions.get(module, [])
    }
    versions: dict[str, str] = {}
    while waiting:
        name = waiting.pop()
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # required on other platforms only
            continue
        waiting |= _requirements(name) - versions.keys()
    return versions


def _imported_modules(files: Iterable[Path]) -> set[str]:
    """Return the top-level modules that files import, except standard library and own packages.

    Raises:
      UserError: a file is no Python.
    """
    modules = set()
    for file in files:
        try:
            tree = ast.parse(file.read_bytes())
        except (SyntaxError, ValueError) as error:
            raise UserError(
                f"{file} is no Python ({in_one_line(error)}); repair it, or remove it"
            ) from None
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                modules |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                modules.add(node.module.split(".")[0])
    return modules - set(sys.stdlib_module_names) - set(OWN_PACKAGES)


def _requirements(name: str) -> set[str]:
    """Return the names of the packages that an installed package requires.

    Of extras only `with-cuda`, by which JAX's plugins for GPUs require the libraries of CUDA.
    """
    requirements = map(Requirement, importlib.metadata.requires(name) or [])
    return {
        canonicalize_name(requirement.name)
        for requirement in requirements
        if requirement.marker is None
        or any(requirement.marker.evaluate({"extra": extra}) for extra in ("", "with-cuda"))
    }
