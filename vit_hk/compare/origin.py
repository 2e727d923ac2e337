"""Where the results of a run come from: an experiment, a branch, a commit."""

import hashlib
from pathlib import Path

from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc.repo.experiments.utils import exp_refs
from scmrepo.exceptions import SCMError
from scmrepo.git import Git

from vit_hk.compare.sources import LOCK, REPORT, RunFiles, as_text
from vit_hk.report.mailed_page import Origin


def find_origin(files: RunFiles) -> Origin:
    """Return where the page of a run comes from; that of a folder is looked for in Git.

    The dvc.lock of a commit has the MD5 of the page that belongs to it. The commit that is checked
    out comes first, then all experiments.
    """
    if files.commit:
        return Origin(files.name, files.commit, is_committed=True)
    unknown = Origin(as_text(files.folder.resolve().name), None, is_committed=False)
    try:
        with Repo(files.folder) as repo:
            is_project = Path(repo.root_dir) == files.folder.resolve()
            return _find_in_git(repo.scm, _md5(files.folder / REPORT)) if is_project else unknown
    except (DvcException, SCMError):  # no repository, or one without commits
        return unknown


def _find_in_git(git: Git, md5: str) -> Origin:
    head = git.get_rev()
    branch = _branch(git, head)
    if md5 in _read_lock(git, head):
        return Origin(branch, head, is_committed=True)
    for experiment in exp_refs(git):
        commit = git.get_ref(str(experiment))
        if md5 in _read_lock(git, commit):
            return Origin(experiment.name, commit, is_committed=True)
    return Origin(branch, head, is_committed=False)


def _branch(git: Git, head: str) -> str:
    try:
        return git.active_branch()
    except SCMError:  # no branch is checked out
        return head[:7]


def _read_lock(git: Git, commit: str) -> str:
    try:
        with git.get_fs(commit).open(LOCK.as_posix(), "r", encoding="utf-8") as file:
            return file.read()
    except (FileNotFoundError, UnicodeDecodeError):
        return ""


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
