"""The data sets on offer, with the mirrors, file names and MD5 checksums that torchvision lists."""

import dataclasses
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np

from vit_hk.data.sources.checksums import PINS
from vit_hk.data.sources.raw_files import RawFile, read_cifar10, read_mnist_like

# The same files over HTTPS, asked before the hosts that torchvision lists.
HTTPS = {
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/": (
        "https://fashion-mnist.s3.eu-central-1.amazonaws.com/"
    ),
    "http://codh.rois.ac.jp/kmnist/dataset/kmnist/": (
        "https://codh.rois.ac.jp/kmnist/dataset/kmnist/"
    ),
}
CIFAR10_CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Source:
    """A data set on the network.

    Attributes:
      folder: its folder below data.root, as torchvision lays it out.
      mirrors: URLs that end in "/", tried in this order.
      files: the files that `read` needs.
      class_names: a name for each class.
      read: reads the verified files, in the order of `files`, as x_train, y_train, x_test, y_test.
    """

    folder: str
    mirrors: tuple[str, ...]
    files: tuple[RawFile, ...]
    class_names: tuple[str, ...]
    read: Callable[[Sequence[Path]], tuple[np.ndarray, ...]]


def find_source(name: str) -> Source:
    """Return the data set with this name, one of those that `data.name` allows."""
    datasets = import_torchvision_datasets()
    if name == "cifar10":
        return Source(
            folder="CIFAR10",
            mirrors=("https://www.cs.toronto.edu/~kriz/",),
            files=_pinned(name, [("cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530")]),
            class_names=CIFAR10_CLASSES,
            read=read_cifar10,
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
        read=read_mnist_like,
    )


def _pinned(name: str, resources: list[tuple[str, str]]) -> tuple[RawFile, ...]:
    """Add the pins to the files and MD5 checksums that torchvision lists."""
    return tuple(RawFile(file, md5, PINS[name][file]) for file, md5 in resources)


def import_torchvision_datasets() -> ModuleType:
    """Import torchvision.datasets, also where torchvision's compiled operators do not load."""
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
            del sys.modules[module]  # it was imported in part
        from torchvision import datasets
    return datasets
