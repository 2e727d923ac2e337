"""Downloads from mirrors: a file is used only after its size and both its checksums were verified.

Every wait is bounded. A host that does not answer, or sends next to nothing, is given up after
`TIMEOUT` seconds, and hosts that are all silent are asked twice.
"""

import concurrent.futures
import dataclasses
import errno
import hashlib
import http.client
import secrets
import socket
import threading
import time
import urllib.request
from pathlib import Path
from urllib.parse import urlparse

from tqdm import tqdm

from vit_hk.errors import UserError, in_one_line

ROUNDS = 3  # over all mirrors
TIMEOUT = 10.0  # seconds until a host must have answered, and between checks of its speed
MIN_BYTES_PER_SECOND = 2_000  # less counts as no answer
CHUNK = 2**16
DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EISDIR}


class UnreachableError(Exception):
    """An error that says that no mirror delivers a file."""


class WrongFileError(Exception):
    """An error that says that a mirror sends something else than the file."""


@dataclasses.dataclass(frozen=True)
class RemoteFile:
    """A file to download, with its size in bytes and its checksums."""

    name: str
    size: int
    md5: str
    sha256: str


def ensure_file(file: RemoteFile, mirrors: tuple[str, ...], folder: Path) -> None:
    """Make sure that a folder holds a file with the right content, and download it where not.

    Args:
      file: the file; a correct copy in `folder` is used without a network.
      mirrors: URLs that end in "/", tried in this order.
      folder: created where it is missing.

    Raises:
      UnreachableError: no mirror delivers it.
      UserError: mirrors answer, but with something else.
      OSError: the folder cannot be used.
    """
    target = folder / file.name
    if target.is_file():
        if _is_correct(target, file):
            return
        print(f"{target} has a wrong checksum; it is not used and is fetched again", flush=True)
    _fetch(file, mirrors, target)


def _fetch(file: RemoteFile, mirrors: tuple[str, ...], target: Path) -> None:
    """Try the mirrors in turn, for up to `ROUNDS` rounds, until one sends the right file."""
    # A unique name: experiments that run in parallel share the folder.
    partial = target.with_name(f"{file.name}.{secrets.token_hex(4)}.partial")
    target.parent.mkdir(parents=True, exist_ok=True)
    problems: dict[str, object] = {}
    refused = False
    try:
        for round_number in range(ROUNDS):
            time.sleep(round_number)  # 0, 1, 2 seconds: a busy host may recover
            for mirror in mirrors:
                try:
                    _download(mirror + file.name, partial, file)
                except WrongFileError as error:
                    problems[mirror] = error
                    refused = True
                except (OSError, ValueError, http.client.HTTPException) as error:
                    # An error of the network is a URLError, without an errno.
                    if getattr(error, "errno", None) in DISK_ERRORS:
                        raise
                    problems[mirror] = getattr(error, "reason", None) or error
                else:
                    partial.replace(target)
                    return
            if _is_hopeless(list(problems.values()), round_number):
                break
    finally:
        partial.unlink(missing_ok=True)
    tried = "; ".join(
        f"{urlparse(mirror).netloc}: {in_one_line(problem)}" for mirror, problem in problems.items()
    )
    if refused:
        raise UserError(
            f"{file.name} was refused, nothing of it is used ({tried}); try again later"
        )
    raise UnreachableError(f"no host delivers {file.name} ({tried})")


def _is_hopeless(problems: list[object], round_number: int) -> bool:
    """Return whether another round would be useless."""
    absent = (socket.gaierror, ConnectionRefusedError)  # no name resolves, or nothing listens
    if all(isinstance(problem, absent) for problem in problems):
        return True
    silent = (*absent, TimeoutError)
    return round_number > 0 and all(isinstance(problem, silent) for problem in problems)


def _download(url: str, partial: Path, file: RemoteFile) -> None:
    """Download a file from one mirror and verify it."""
    with _open(url) as response:
        if response.length not in (None, file.size):
            raise WrongFileError(f"sent another file, {response.length:,} bytes long")
        received = _copy(response, partial, file)
    if received < file.size and response.length is not None:
        raise ConnectionError(f"hung up after {received:,} of {file.size:,} bytes")
    if not _is_correct(partial, file):
        raise WrongFileError("sent another file, with a wrong checksum")


def _open(url: str) -> http.client.HTTPResponse:
    """Open a URL like urlopen, with TIMEOUT for name resolution and all addresses together."""
    answer: concurrent.futures.Future[http.client.HTTPResponse] = concurrent.futures.Future()

    def request() -> None:
        try:
            answer.set_result(urllib.request.urlopen(url, timeout=TIMEOUT))  # noqa: S310, of torchvision_sets
        except Exception as error:
            answer.set_exception(error)

    threading.Thread(target=request, daemon=True).start()
    try:
        return answer.result(TIMEOUT)
    except TimeoutError:
        raise TimeoutError(f"no answer within {TIMEOUT:g} seconds") from None


def _copy(response: http.client.HTTPResponse, partial: Path, file: RemoteFile) -> int:
    """Write the response to disk, never more than the expected size; return the number of bytes."""
    received = received_at_check = 0
    checked = time.monotonic()
    bar = tqdm(total=file.size, desc=file.name, unit="B", unit_scale=True, disable=None)
    with partial.open("wb") as out, bar:
        while chunk := response.read1(CHUNK):
            received += len(chunk)
            if received > file.size:
                raise WrongFileError(f"sent another file, longer than {file.size:,} bytes")
            out.write(chunk)
            bar.update(len(chunk))
            if (passed := time.monotonic() - checked) > TIMEOUT:
                if received - received_at_check < MIN_BYTES_PER_SECOND * passed:
                    raise TimeoutError(f"sent fewer than {MIN_BYTES_PER_SECOND:,} bytes per second")
                checked, received_at_check = time.monotonic(), received
    return received


def _is_correct(path: Path, file: RemoteFile) -> bool:
    if path.stat().st_size != file.size:
        return False
    with path.open("rb") as opened:
        sha256 = hashlib.file_digest(opened, "sha256").hexdigest()
        opened.seek(0)
        md5 = hashlib.file_digest(opened, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    return (sha256, md5) == (file.sha256, file.md5)
