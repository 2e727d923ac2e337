"""Finds the files of a run: in a folder, or in Git and in DVC's cache for a revision.

Nothing is checked out, downloaded or changed.
"""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

from dvc.api import DVCFileSystem
from dvc.exceptions import DvcException
from scmrepo.exceptions import SCMError

from vit_hk.errors import UserError, in_one_line

PARAMS = Path("params.yaml")
METRICS = Path("results/metrics.json")
PREDICTIONS = Path("results/predictions.csv")
FAITHFULNESS = Path("results/faithfulness.csv")
CORRUPTIONS = Path("results/corruptions.csv")
HISTORY = Path("results/history.csv")
DATASET = Path("data/dataset.npz")
WEIGHTS = Path("models/vit.safetensors")
ATTENTION = Path("results/attention/attention.npz")
TIMING = Path("results/timing.json")
REPORT = Path("results/report.html")
LOCK = Path("dvc.lock")

# Of a run that is compared: what it needs, and what a part of the page is left out without.
REQUIRED = (PARAMS, METRICS, PREDICTIONS)
OPTIONAL = (FAITHFULNESS, CORRUPTIONS, HISTORY, DATASET, WEIGHTS, ATTENTION, TIMING)


@dataclasses.dataclass(frozen=True)
class RunFiles:
    """The files of one run.

    Attributes:
      name: the run as the user named it.
      detail: what the name stands for, in words.
      commit: the commit of a revision, of which a folder has none.
      folder: where the files lie, under their usual names; those of a revision are copies, and
        links into DVC's cache.
      missing: what `folder` lacks, and why.
      remedy: how to bring what is missing.
    """

    name: str
    detail: str
    commit: str | None
    folder: Path
    missing: dict[Path, str]
    remedy: str

    def find(self, file: Path) -> Path | None:
        """Return where a file lies, or None where it is missing."""
        return None if file in self.missing else self.folder / file


def find_files(
    name: str,
    scratch: Path,
    required: Sequence[Path] = REQUIRED,
    optional: Sequence[Path] = OPTIONAL,
) -> RunFiles:
    """Find files of a run.

    Args:
      name: a folder with results, a Git revision, or the name of a DVC experiment.
      scratch: an empty folder, for copies of the files of a revision.
      required: files without which there is nothing to show.
      optional: files that may be missing.

    Raises:
      UserError: there is no such run, or it lacks a required file.
    """
    if not name:
        raise UserError("the name of a run is empty; name a folder, a revision or an experiment")
    wanted = (*required, *optional)
    # Path.is_file would raise an error for a name that is too long for a file.
    is_folder = os.path.isfile(Path(name) / METRICS)  # noqa: PTH113
    files = _in_folder(name, wanted) if is_folder else _in_revision(name, scratch, wanted)
    if lacking := [file for file in required if file in files.missing]:
        raise UserError(
            f"{name} ({files.detail}) has no {lacking[0]}: {files.missing[lacking[0]]}; "
            f"name a run that has ended. {files.remedy}"
        )
    return files


def _in_folder(name: str, wanted: Sequence[Path]) -> RunFiles:
    folder = Path(name)
    missing = {file: "not there" for file in wanted if not (folder / file).is_file()}
    text = as_text(name)
    remedy = f"In {text}, `dvc repro` makes what is missing, or `dvc pull` brings it from a remote."
    return RunFiles(text, "a folder", None, folder, missing, remedy)


def as_text(name: str) -> str:
    """Return the name of a file with escapes in place of what is not UTF-8, as a page can hold."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _in_revision(name: str, scratch: Path, wanted: Sequence[Path]) -> RunFiles:
    try:
        files = DVCFileSystem(rev=name)
        commit = files.repo.get_rev()
        problems = {file: _bring(files, file, scratch / file) for file in wanted}
        missing = {file: problem for file, problem in problems.items() if problem}
        is_experiment = not _is_git_revision(files, name)
    except (DvcException, SCMError, ValueError) as error:  # ValueError: no name for Git
        raise UserError(
            f"{in_one_line(name, 100)} is no folder with {METRICS}, and no Git revision or DVC "
            f"experiment ({in_one_line(error, 150)}); `git log` and `dvc exp list` name them"
        ) from None
    except OSError as error:
        raise UserError(f"{name} could not be read: {in_one_line(error)}") from None
    kind = "experiment" if is_experiment else "commit"
    fetch = f"dvc exp pull origin {name}" if is_experiment else "dvc fetch --all-commits"
    remedy = f"`{fetch}` brings it from a remote; without a remote, only a new run makes it."
    return RunFiles(name, f"{kind} {commit[:7]}", commit, scratch, missing, remedy)


def _bring(files: DVCFileSystem, file: Path, target: Path) -> str:
    """Copy a file out of Git, or link to it in DVC's cache; return what prevents it, or ""."""
    try:
        info = files.info(file.as_posix())
    except FileNotFoundError:
        return "not part of this revision"
    target.parent.mkdir(parents=True, exist_ok=True)
    if "fs_info" in info:
        with files.open(file.as_posix()) as source:
            target.write_bytes(source.read())
        return ""
    if "md5" not in info:
        return "not recorded in its dvc.lock"
    cached = Path(files.repo.cache.local.oid_to_path(info["md5"]))
    if not cached.is_file():
        return "not in DVC's cache"
    target.symlink_to(cached)
    return ""


def _is_git_revision(files: DVCFileSystem, name: str) -> bool:
    try:
        files.repo.scm.resolve_rev(name)
    except SCMError:
        return False
    return True
