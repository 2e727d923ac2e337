"""Check that params.yaml is valid and fits the data set, before DVC removes any result.

DVC removes the outputs of a stage before it runs it. So a mistake is to be found by this stage,
which runs before `train` and owns no results.
"""

import sys

from stages import paths, run_stage
from vit_hk.atomic import check_writable, replacing
from vit_hk.data.compatibility import check_compatible
from vit_hk.data.dataset import load_dataset
from vit_hk.data.warnings import (
    class_warnings,
    drop_path_warnings,
    duplicate_warnings,
    flip_warnings,
)
from vit_hk.explain.selection import check_indices
from vit_hk.params import load_config
from vit_hk.training.starting_point import check_starting_point

# The same for all settings that are valid: a change of them must not run every stage again.
CONTENT = "The settings are valid and fit the data set.\n"


def main() -> None:
    """Write data/checked.txt from params.yaml and data/dataset.npz."""
    config = load_config()
    check_writable(paths.CHECKED)
    dataset = load_dataset(paths.DATASET)
    check_compatible(config, dataset)
    check_indices(config.attention.images, len(dataset.x_test))
    check_starting_point(config, dataset)
    warnings = class_warnings(dataset) + duplicate_warnings(dataset)
    for warning in warnings + flip_warnings(config, dataset) + drop_path_warnings(config):
        print(warning, file=sys.stderr)
    with replacing(paths.CHECKED) as temporary:
        temporary.write_text(CONTENT, "utf-8")


if __name__ == "__main__":
    run_stage(main)
