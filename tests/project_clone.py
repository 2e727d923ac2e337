"""A copy of the project, and the commands that a user types there."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from settings_file import change_settings

PROJECT = Path(__file__).parents[1]


class Clone:
    """A project folder in which git and dvc run for real."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        nowhere = "http://127.0.0.1:9"  # a closed port: no test depends on a network
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("DVC_")},
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "http_proxy": nowhere,
            "https_proxy": nowhere,
            "GIT_AUTHOR_NAME": "Test",
            "GIT_AUTHOR_EMAIL": "test@example.org",
            "GIT_COMMITTER_NAME": "Test",
            "GIT_COMMITTER_EMAIL": "test@example.org",
        }

    def run(self, *command: str, expect: int = 0) -> str:
        """Run a command and return all that it prints."""
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
        """Change params.yaml; `train__epochs=2` stands for train.epochs."""
        change_settings(self.folder / "params.yaml", changes)

    def repro(self, *options: str) -> list[str]:
        """Run dvc repro; return the stages that ran, not those that came from a cache."""
        printed = self.run("dvc", "repro", *options).splitlines()
        return [line.split("'")[1] for line in printed if line.startswith("Running stage")]

    def read(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()


def copy_project(folder: Path) -> "Clone":
    """The project as it stands, changes that are not committed included, with no results."""
    tracked = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=PROJECT, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    for name in tracked:
        kept = not name.startswith(("tests/", "benchmarks/", "results/", "docs/", "dvc.lock"))
        if kept and (PROJECT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(PROJECT / name, folder / name)
    clone = Clone(folder)
    clone.run("git", "init", "--quiet", "--initial-branch=main")
    clone.run("git", "add", "--all")
    clone.run("git", "commit", "--quiet", "--message=start")
    return clone


def outputs(folder: Path) -> dict[str, bytes]:
    """All that the pipeline makes, but for how long it took."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in [folder / "dvc.lock", *folder.glob("models/*"), *folder.rglob("results/**/*")]
        if path.is_file() and path.name not in (".gitignore", "timing.json")
    }
