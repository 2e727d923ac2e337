"""Hosts that are unreachable, slow, cut off or wrong: the right file, or no file and one line."""

import dataclasses
import errno
import gc
import hashlib
import socket
import threading
import time
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mirror_server import Server, closed_port, cut_off, promise, without_length
from small_disk import disk_of

import vit_hk.data.sources.download
from vit_hk.data.sources.checksums import Pin
from vit_hk.data.sources.download import ROUNDS, TIMEOUT, UnreachableError, ensure_file
from vit_hk.data.sources.raw_files import RawFile
from vit_hk.errors import UserError

CONTENT = bytes(range(256)) * 400  # longer than CHUNK
PAGE = b"<html>Welcome to the hotel. Sign in.</html>"
FILE = RawFile(
    "data.gz",
    hashlib.md5(CONTENT).hexdigest(),  # noqa: S324
    Pin(len(CONTENT), hashlib.sha256(CONTENT).hexdigest()),
)
SHORT_TIMEOUT = 0.2  # seconds, in place of TIMEOUT


@pytest.fixture(autouse=True)
def connections_are_closed() -> Iterator[None]:
    gc.collect()  # what other tests left behind
    yield
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResourceWarning)
        gc.collect()
    assert [str(warning.message) for warning in caught] == []


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as started:
        started.answers["/data.gz"] = CONTENT
        yield started


@pytest.fixture(autouse=True)
def pauses(monkeypatch) -> list[float]:
    """Record the pauses between rounds, in seconds, instead of waiting."""
    recorded: list[float] = []
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(time, "sleep", recorded.append)
    return recorded


@pytest.fixture
def short_timeout(monkeypatch) -> None:
    """Give up early, where a host is silent; elsewhere a busy machine may need longer to answer."""
    monkeypatch.setattr(vit_hk.data.sources.download, "TIMEOUT", SHORT_TIMEOUT)


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "raw"


def has_only_the_file(folder: Path) -> bool:
    return {path.name: path.read_bytes() for path in folder.iterdir()} == {"data.gz": CONTENT}


@pytest.fixture
def fails(folder, one_line) -> Callable[..., str]:
    """Return a function that runs a download, which must fail, and returns its message."""

    def check(*mirrors: str, expect: type[Exception] = UnreachableError) -> str:
        before = {path: path.read_bytes() for path in folder.glob("*")}
        with pytest.raises(expect) as caught:
            ensure_file(FILE, mirrors, folder)
        assert {path: path.read_bytes() for path in folder.glob("*")} == before
        return one_line(caught.value)

    return check


# One host fails, and the next one has the file.


@pytest.mark.parametrize(
    "answer",
    [404, 500, b"", PAGE, CONTENT[:-1], CONTENT + b"x", CONTENT[:-1] + b"x", cut_off(CONTENT),
     without_length(PAGE), without_length(CONTENT * 2), without_length(CONTENT[:99])],
    ids=["404", "500", "empty", "page", "short", "long", "bit", "cut off", "page without length",
         "long without length", "short without length"],
)  # fmt: skip
def test_next_mirror_is_used_when_one_fails(server, folder, pauses, answer):
    server.answers["/bad/data.gz"] = answer
    ensure_file(FILE, (f"{server.url}bad/", server.url), folder)
    assert has_only_the_file(folder)
    assert pauses == [0]


def test_next_mirror_is_used_when_one_refuses_connections(server, folder):
    ensure_file(FILE, (closed_port(), server.url), folder)
    assert has_only_the_file(folder)


@pytest.mark.usefixtures("short_timeout")
@pytest.mark.parametrize("kind", ["silent", "stalling", "dripping"])
def test_next_mirror_is_used_when_one_is_slow(server, folder, kind):
    slow = {
        "silent": server.silent,
        "stalling": server.stalling(CONTENT),
        "dripping": server.dripping(CONTENT, SHORT_TIMEOUT / 4),
    }
    server.answers["/slow/data.gz"] = slow[kind]
    ensure_file(FILE, (f"{server.url}slow/", server.url), folder)
    assert has_only_the_file(folder)


def test_busy_host_is_retried_after_a_pause(server, folder, pauses):
    def busy_at_first(request) -> None:
        server.answers["/data.gz"] = CONTENT
        request.send_error(503)

    server.answers["/data.gz"] = busy_at_first
    ensure_file(FILE, (server.url,), folder)
    assert has_only_the_file(folder)
    assert pauses == [0, 1]


def test_content_length_is_optional(server, folder):
    server.answers["/data.gz"] = without_length(CONTENT)
    ensure_file(FILE, (server.url,), folder)
    assert has_only_the_file(folder)


# No host delivers the file.


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (503, "Service Unavailable"),
        (cut_off(CONTENT), "hung up after 51,200 of 102,400 bytes"),
    ],
    ids=["busy", "cut off"],
)
def test_failing_host_is_tried_three_times(server, fails, pauses, answer, reason):
    server.answers["/data.gz"] = answer
    message = fails(server.url)
    assert message.startswith("no host delivers data.gz (127.0.0.1:")
    assert reason in message
    assert len(server.requests) == ROUNDS == 3
    assert pauses == [0, 1, 2]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "sent another file, 0 bytes long"),
        (PAGE, "sent another file, 43 bytes long"),
        (without_length(PAGE), "sent another file, with a wrong checksum"),
        (CONTENT[:-1] + b"x", "sent another file, with a wrong checksum"),
        (without_length(CONTENT + b"x"), "sent another file, longer than 102,400 bytes"),
    ],
    ids=["empty", "page", "page without length", "bit", "long without length"],
)
def test_wrong_file_on_all_hosts_is_refused(server, fails, pauses, answer, reason):
    server.answers |= {"/a/data.gz": answer, "/b/data.gz": answer}
    message = fails(f"{server.url}a/", f"{server.url}b/", expect=UserError)
    assert message.startswith("data.gz was refused, nothing of it is used (127.0.0.1:")
    assert reason in message
    assert pauses == [0, 1, 2]


@pytest.mark.parametrize(
    "wrong",
    [
        dataclasses.replace(FILE, md5="0" * 32),
        dataclasses.replace(FILE, pin=Pin(len(CONTENT), "0" * 64)),
    ],
    ids=["md5", "sha256"],
)
def test_both_checksums_must_match(server, folder, wrong):
    with pytest.raises(UserError, match="wrong checksum"):
        ensure_file(wrong, (server.url,), folder)
    assert list(folder.iterdir()) == []


def test_endless_response_fills_neither_memory_nor_disk(server, fails):
    def endless(request) -> None:
        request.send_response(200)
        request.end_headers()
        while not server.over.is_set():
            request.wfile.write(bytes(2**20))

    server.answers["/data.gz"] = endless
    tracemalloc.start()
    try:
        fails(server.url, expect=UserError)
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()


@pytest.mark.usefixtures("short_timeout")
def test_silent_hosts_are_tried_twice(server, fails, pauses):
    server.answers["/data.gz"] = server.silent
    message = fails(server.url, closed_port())
    assert f"no answer within {SHORT_TIMEOUT} seconds" in message
    assert "Connection refused" in message
    assert pauses == [0, 1]
    # The longest wait with the two hosts of MNIST, before the offline sample is used.
    assert 2 * 2 * TIMEOUT + 1 <= 45


@pytest.mark.usefixtures("short_timeout")
def test_host_that_drops_packets_is_given_up(fails, pauses):
    # With a full queue, Linux drops requests for a connection, as a firewall does.
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for waiting in (first, second):
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        message = fails(f"http://127.0.0.1:{listener.getsockname()[1]}/")
    assert f"no answer within {SHORT_TIMEOUT} seconds" in message or "timed out" in message
    assert pauses == [0, 1]


@pytest.mark.usefixtures("short_timeout")
def test_endless_name_resolution_is_given_up(fails, monkeypatch):
    released = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: released.wait(30))
    try:
        assert f"no answer within {SHORT_TIMEOUT} seconds" in fails("http://nowhere.invalid/")
    finally:
        released.set()


@pytest.mark.parametrize("url", ["http://a..b/", "http://host:port/", "file:///etc/passwd"])
def test_invalid_redirect_is_reported_in_one_line(server, fails, url):
    def redirect(request) -> None:
        request.send_response(302)
        request.send_header("Location", url)
        request.end_headers()

    server.answers["/data.gz"] = redirect
    fails(server.url)


def test_name_that_does_not_resolve_is_not_retried(fails, pauses, monkeypatch):
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert "Name or service not known" in fails("http://nowhere.invalid/", closed_port())
    assert pauses == [0]


def test_response_that_is_not_http_is_reported_in_one_line(fails):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            for _ in range(ROUNDS):
                connection, _ = listener.accept()
                connection.recv(4096)
                connection.sendall(b"220 mail\x85ready\r\nreally\r\n")
                connection.close()

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        assert "220 mail ready" in fails(f"http://127.0.0.1:{listener.getsockname()[1]}/")
        thread.join(5)


# The folder of downloads.


def test_simultaneous_downloads_do_not_interfere(server, folder):
    def fetch_meanwhile(request) -> None:
        server.answers["/data.gz"] = CONTENT
        promise(request, len(CONTENT))
        request.wfile.write(CONTENT[:50_000])
        ensure_file(FILE, (server.url,), folder)
        request.wfile.write(CONTENT[50_000:])

    server.answers["/data.gz"] = fetch_meanwhile
    ensure_file(FILE, (server.url,), folder)
    assert has_only_the_file(folder)
    assert len(server.requests) == 2


def test_existing_file_needs_no_host(folder):
    folder.mkdir()
    (folder / "data.gz").write_bytes(CONTENT)
    ensure_file(FILE, (), folder)
    assert has_only_the_file(folder)


@pytest.mark.parametrize("position", [0, 51_200, -1])
def test_file_with_a_flipped_bit_is_named_and_left(server, folder, fails, position):
    damaged = bytearray(CONTENT)
    damaged[position] ^= 1
    folder.mkdir()
    (folder / "data.gz").write_bytes(damaged)
    message = fails(server.url, expect=UserError)
    assert f"{folder}/data.gz is not data.gz as published" in message
    assert (folder / "data.gz").read_bytes() == damaged
    assert server.requests == []


def test_full_disk_is_not_reported_as_a_missing_network(server, folder):
    with disk_of(50_000), pytest.raises(OSError, match="File too large") as caught:
        ensure_file(FILE, (server.url,), folder)
    assert caught.value.errno == errno.EFBIG
    assert list(folder.iterdir()) == []
    assert len(server.requests) == 1


def test_refused_connection_is_not_reported_as_a_read_only_folder(fails, monkeypatch):
    # The error that a local firewall causes.
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(socket, "create_connection", refuse)
    assert "Permission denied" in fails("http://127.0.0.1:9/")
