import dataclasses

import numpy as np
import pytest

from vit_hk.data.dataset import save_dataset


def test_settings_that_are_valid_and_fit(here, copy):
    ended = here("check", copy)
    assert (ended.code, ended.out, ended.err) == (0, "", "")
    content = (copy / "data/checked.txt").read_bytes()
    # The same for other settings: train depends on it, and must not run again.
    (copy / "params.yaml").write_text(
        (copy / "params.yaml").read_text().replace("seed: 3", "seed: 4")
    )
    assert here("check", copy).code == 0
    assert (copy / "data/checked.txt").read_bytes() == content


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"seed": -1}, "params.yaml: seed is -1; allowed: greater than or equal to 0"),
        ({"model__patch_size": 3}, "model.patch_size is 3, images of mnist are 8 x 12 pixels"),
        ({"train__batch_size": 37}, "train.batch_size is 37, the training split has 36 images"),
        ({"attention__images": [18]}, "attention.images holds 18, the test set has 18 images"),
        ({"train__init_from": "digits"}, "train.init_from is digits, which is not there"),
        (
            {"train__init_from": "models/vit.safetensors", "model__num_layers": 3},
            "models/vit.safetensors holds another model than params.yaml describes: "
            "model.num_layers 2 there, 3 here",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_mistake_ends_in_one_line(here, refused, copy, edit, change, problem):
    edit(**change)
    assert problem in refused(here, "check", copy)


def test_jax_is_not_started(program, copy, project):
    # A mistake is found in a second.
    ended = program("check", copy, PYTHONPATH=str(project), PYTHONPROFILEIMPORTTIME="1")
    assert ended.code == 0
    assert " jax" not in ended.err


def test_missing_data_set_is_named(here, refused, copy):
    (copy / "data/dataset.npz").unlink()
    assert "data/dataset.npz is not there; make it with: dvc repro download" in refused(
        here, "check", copy
    )


def test_classes_with_too_few_images_are_named(here, copy, tiny_dataset):
    y_test = np.where(tiny_dataset.y_test == 1, 2, tiny_dataset.y_test)
    save_dataset(dataclasses.replace(tiny_dataset, y_test=y_test), copy / "data/dataset.npz")
    ended = here("check", copy)
    assert ended.code == 0
    assert ended.err == "warning: classes without a test image: 1 of 3 ('middle')\n"
