"""Downloads of raw files from mirrors; a file is used only after its checksums were verified.

Every wait is bounded. A host that does not answer, or sends next to nothing, is given up after
`TIMEOUT` seconds, and hosts that are all silent are asked twice.
"""

import concurrent.futures
import errno
import http.client
import secrets
import socket
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlparse

from tqdm import tqdm

from vit_hk.data.sources.raw_files import RawFile, find_raw_file, is_download_of
from vit_hk.errors import UserError, in_one_line

ROUNDS = 3  # over all mirrors
TIMEOUT = 10.0  # seconds until a host must have answered, and between checks of its speed
MIN_BYTES_PER_SECOND = 2_000  # less counts as no answer
CHUNK = 2**16
DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EISDIR}


class UnreachableError(Exception):
    """No mirror delivered a file."""


class WrongFileError(Exception):
    """A mirror sent a file with a wrong size or checksum."""


def ensure_file(file: RawFile, mirrors: tuple[str, ...], folder: Path) -> Path:
    """Return the path of a verified raw file, which is downloaded where it is missing.

    Args:
      file: the file; a correct copy in `folder` is used without a network.
      mirrors: URLs that end in "/", tried in this order.
      folder: created where it is missing.

    Raises:
      UnreachableError: no mirror delivers it.
      UserError: mirrors send another file, or another one lies in its place, which is left there.
      OSError: the folder cannot be used.
    """
    found = find_raw_file(file, folder)
    if found is None:
        found = folder / file.name
        _fetch(file, mirrors, found)
    return found


def _fetch(file: RawFile, mirrors: tuple[str, ...], target: Path) -> None:
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


def _download(url: str, partial: Path, file: RawFile) -> None:
    """Download a file from one mirror and verify it."""
    with _open(url) as response:
        if response.length not in (None, file.pin.size):
            raise WrongFileError(f"sent another file, {response.length:,} bytes long")
        received = _copy(response, partial, file)
    if received < file.pin.size and response.length is not None:
        raise ConnectionError(f"hung up after {received:,} of {file.pin.size:,} bytes")
    if not is_download_of(partial, file):
        raise WrongFileError("sent another file, with a wrong checksum")


def _open(url: str) -> http.client.HTTPResponse:
    """Open a URL like urlopen, with TIMEOUT for name resolution and all addresses together."""
    answer: concurrent.futures.Future[http.client.HTTPResponse] = concurrent.futures.Future()

    def request() -> None:
        try:
            answer.set_result(urllib.request.urlopen(url, timeout=TIMEOUT))  # noqa: S310, of torchvision_sets
        except Exception as error:
            if isinstance(error, urllib.error.HTTPError):
                error.close()  # a refusal is a response too, and holds its connection
            answer.set_exception(error)

    threading.Thread(target=request, daemon=True).start()
    try:
        return answer.result(TIMEOUT)
    except TimeoutError:
        raise TimeoutError(f"no answer within {TIMEOUT:g} seconds") from None


def _copy(response: http.client.HTTPResponse, partial: Path, file: RawFile) -> int:
    """Write the response to disk, never more than the expected size; return the number of bytes."""
    received = received_at_check = 0
    checked = time.monotonic()
    bar = tqdm(total=file.pin.size, desc=file.name, unit="B", unit_scale=True, disable=None)
    with partial.open("wb") as out, bar:
        while chunk := response.read1(CHUNK):
            received += len(chunk)
            if received > file.pin.size:
                raise WrongFileError(f"sent another file, longer than {file.pin.size:,} bytes")
            out.write(chunk)
            bar.update(len(chunk))
            if (passed := time.monotonic() - checked) > TIMEOUT:
                if received - received_at_check < MIN_BYTES_PER_SECOND * passed:
                    raise TimeoutError(f"sent fewer than {MIN_BYTES_PER_SECOND:,} bytes per second")
                checked, received_at_check = time.monotonic(), received
    return received
