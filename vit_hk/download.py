"""Files from mirrors: nothing is used before its size and both its checksums are right.

Every wait is bounded. A host that does not answer, or sends next to nothing, is given up after
`TIMEOUT` seconds, and hosts that all keep silent are asked twice.
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
TIMEOUT = 10.0  # seconds until a host must have answered, and between looks at its speed
SLOWEST = 2_000  # bytes a second; less is taken for silence
CHUNK = 2**16
DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EISDIR}


class UnreachableError(Exception):
    """No mirror delivers a file."""


class WrongFileError(Exception):
    """A mirror sends something else than the file."""


@dataclasses.dataclass(frozen=True)
class RemoteFile:
    """A file to fetch, its size in bytes and its checksums."""

    name: str
    size: int
    md5: str
    sha256: str


def ensure(file: RemoteFile, mirrors: tuple[str, ...], folder: Path) -> None:
    """Make sure that `folder` holds the file, right to the last bit.

    Args:
      file: what is wanted; without a network where it lies there already.
      mirrors: URLs that end in "/", tried in this order.
      folder: made where it is missing.

    Raises:
      UnreachableError: no mirror delivers it.
      UserError: mirrors answer, but with something else.
      OSError: the folder cannot be used.
    """
    target = folder / file.name
    if target.is_file():
        if _is_right(target, file):
            return
        print(f"{target} has a wrong checksum; it is not used and is fetched again", flush=True)
    _fetch(file, mirrors, target)


def _fetch(file: RemoteFile, mirrors: tuple[str, ...], target: Path) -> None:
    """Try the mirrors in turn, for some rounds, until one sends the right file."""
    # A name of its own: experiments that run beside each other share the folder.
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
                    # What the network says is a URLError, without a number.
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
    """Whether another round is no use."""
    absent = (socket.gaierror, ConnectionRefusedError)  # no name resolves, or nothing listens
    if all(isinstance(problem, absent) for problem in problems):
        return True
    silent = (*absent, TimeoutError)
    return round_number > 0 and all(isinstance(problem, silent) for problem in problems)


def _download(url: str, partial: Path, file: RemoteFile) -> None:
    """Write one file from one mirror and check it."""
    with _open(url) as response:
        if response.length not in (None, file.size):
            raise WrongFileError(f"sent another file, {response.length:,} bytes long")
        received = _copy(response, partial, file)
    if received < file.size and response.length is not None:
        raise ConnectionError(f"hung up after {received:,} of {file.size:,} bytes")
    if not _is_right(partial, file):
        raise WrongFileError("sent another file, with a wrong checksum")


def _open(url: str) -> http.client.HTTPResponse:
    """As urlopen, but TIMEOUT covers the search for its address and all its addresses together."""
    answer: concurrent.futures.Future[http.client.HTTPResponse] = concurrent.futures.Future()

    def ask() -> None:
        try:
            answer.set_result(urllib.request.urlopen(url, timeout=TIMEOUT))  # noqa: S310, from `sources`
        except Exception as error:
            answer.set_exception(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        return answer.result(TIMEOUT)
    except TimeoutError:
        raise TimeoutError(f"no answer within {TIMEOUT:g} seconds") from None


def _copy(response: http.client.HTTPResponse, partial: Path, file: RemoteFile) -> int:
    """Write what comes, never more than the file has; return the number of bytes."""
    received = looked_at = 0
    looked = time.monotonic()
    bar = tqdm(total=file.size, desc=file.name, unit="B", unit_scale=True, disable=None)
    with partial.open("wb") as out, bar:
        while chunk := response.read1(CHUNK):
            received += len(chunk)
            if received > file.size:
                raise WrongFileError(f"sent another file, longer than {file.size:,} bytes")
            out.write(chunk)
            bar.update(len(chunk))
            if (passed := time.monotonic() - looked) > TIMEOUT:
                if received - looked_at < SLOWEST * passed:
                    raise TimeoutError(f"sent fewer than {SLOWEST:,} bytes a second")
                looked, looked_at = time.monotonic(), received
    return received


def _is_right(path: Path, file: RemoteFile) -> bool:
    if path.stat().st_size != file.size:
        return False
    with path.open("rb") as opened:
        sha256 = hashlib.file_digest(opened, "sha256").hexdigest()
        opened.seek(0)
        md5 = hashlib.file_digest(opened, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    return (sha256, md5) == (file.sha256, file.md5)
