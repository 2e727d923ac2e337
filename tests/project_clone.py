"""A copy of the project in which git and dvc run as a user runs them."""

import contextlib
import csv
import io
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from dvc.repo import Repo
from settings_file import change_settings

PROJECT = Path(__file__).parents[1]
NOT_COPIED = ("tests/", "benchmarks/", "results/", "docs/", "dvc.lock")
CLOSED_PORT = "http://127.0.0.1:9"  # as a proxy: no test depends on a network


class Clone:
    """A project folder in which git and dvc run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("DVC_")},
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "http_proxy": CLOSED_PORT,
            "https_proxy": CLOSED_PORT,
            "GIT_AUTHOR_NAME": "Test",
            "GIT_AUTHOR_EMAIL": "test@example.org",
            "GIT_COMMITTER_NAME": "Test",
            "GIT_COMMITTER_EMAIL": "test@example.org",
        }

    def run(self, *command: str, expect: int = 0) -> str:
        """Run a command, check its exit code, and return its stdout and stderr."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            timeout=300,
            check=False,
        )
        assert done.returncode == expect, done.stdout
        return done.stdout

    def set(self, **changes: object) -> None:
        """Change settings in params.yaml; `train__epochs=2` stands for train.epochs."""
        change_settings(self.folder / "params.yaml", changes)

    def repro(self, *options: str) -> list[str]:
        """Run dvc repro and return the stages that ran, without those restored from the cache."""
        printed = self.run("dvc", "repro", *options).splitlines()
        return [line.split("'")[1] for line in printed if line.startswith("Running stage")]

    def experiments(self) -> dict[str, dict[str, str]]:
        """Return the rows of dvc exp show by the name of the experiment or branch."""
        rows = csv.DictReader(io.StringIO(self.run("dvc", "exp", "show", "--csv")))
        return {row["Experiment"] or row["rev"]: row for row in rows}

    def changed_stages(self, *targets: str) -> frozenset[str]:
        """Return the stages of which a dependency or a setting has changed."""
        # In this process, since a dvc of its own would take a second to start.
        with contextlib.chdir(self.folder), Repo() as repo:
            return frozenset(repo.status(targets=list(targets) or None, with_deps=bool(targets)))

    def read(self, name: str) -> bytes:
        """Return the content of a file."""
        return (self.folder / name).read_bytes()

    def copy(self, folder: Path, *left_out: str) -> "Clone":
        """Copy the clone into a new folder, without the names that are left out."""
        ignore = shutil.ignore_patterns(*left_out)
        shutil.copytree(
            self.folder, folder, symlinks=True, ignore=ignore, copy_function=_copy_or_link
        )
        return Clone(folder)


def _copy_or_link(source: str, target: str) -> None:
    """Copy a file, or link it if it is only ever replaced: a link takes a fifth of the time."""
    if "/.git/objects/" in source or "/.dvc/cache/" in source or source.endswith(".pyc"):
        os.link(source, target)
    else:
        shutil.copy2(source, target)


def copy_project(folder: Path) -> Clone:
    """Copy the working tree, with uncommitted changes and without results, into a new repository.

    Files that Git ignores, and what the pipeline does not need, are not copied.
    """
    names = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=PROJECT, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    for name in names:
        if (PROJECT / name).is_file() and not name.startswith(NOT_COPIED):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(PROJECT / name, folder / name)
    clone = Clone(folder)
    clone.run("git", "init", "--quiet", "--initial-branch=main", "--template=")  # without hooks
    clone.run("git", "add", "--all")
    clone.run("git", "commit", "--quiet", "--message=start")
    return clone


def outputs(folder: Path) -> dict[str, bytes]:
    """Return the content of dvc.lock and of all models and results, without the timing."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in [folder / "dvc.lock", *folder.glob("models/*"), *folder.rglob("results/**/*")]
        if path.is_file() and path.name not in (".gitignore", "timing.json")
    }


def check_same(expected: Mapping[str, object], found: Mapping[str, object]) -> None:
    """Fail with the names of what is missing, unexpected, or has other content."""
    names = expected.keys() | found.keys()
    differ = sorted(name for name in names if expected.get(name) != found.get(name))
    assert not differ, f"these differ: {differ}"
