"""Fetch or read the data set that params.yaml names, and write it as one NPZ file."""

import os
from pathlib import Path

from stages import paths, run_stage
from vit_hk.atomic import check_writable
from vit_hk.data.dataset import save_dataset
from vit_hk.data.sources.array_preparation import prepare_arrays
from vit_hk.data.sources.load import check_replaceable, load_source
from vit_hk.params import load_config


def main() -> None:
    """Write data/dataset.npz from params.yaml: data."""
    settings = load_config().data
    check_writable(paths.DATASET)
    check_replaceable(paths.DATASET)
    # In an experiment's temporary folder DVC_ROOT still names the project, so that all
    # experiments share one folder of downloads.
    dataset = load_source(settings, Path(os.environ.get("DVC_ROOT", ".")))
    dataset = prepare_arrays(dataset, settings)
    save_dataset(dataset, paths.DATASET)
    print(
        f"{paths.DATASET}: {dataset.name}, {len(dataset.x_train):,} training and "
        f"{len(dataset.x_test):,} test images, source: {dataset.source}"
    )


if __name__ == "__main__":
    run_stage(main)
