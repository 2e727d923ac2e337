from pathlib import Path

import pytest
from weights_files import dataset_of, info_of, write_weights

from vit_hk.errors import UserError
from vit_hk.training.starting_point import check_starting_point, describe_start

SHAPE = (8, 8, 1)


@pytest.fixture
def start(make_config, tmp_path):
    """Return a function that makes settings which start from a file, and the path of that file."""
    path = tmp_path / "digits.safetensors"
    path.write_text("")

    def make(**changes):
        return make_config(**{"init_from": str(path), "batch_size": 4, **changes})

    return make, path


@pytest.fixture
def refuse(start, one_line):
    """Return a function that gives the error message about settings and a data set."""

    def check(dataset, **changes):
        make, _ = start
        with pytest.raises(UserError) as caught:
            check_starting_point(make(**changes), dataset)
        return one_line(caught.value)

    return check


def test_without_a_file_there_is_nothing_to_check(make_config):
    check_starting_point(make_config(), dataset_of(SHAPE))


@pytest.mark.parametrize(
    ("shape", "classes", "changes"),
    [
        (SHAPE, ("a", "b", "c"), {"freeze": ["head"]}),
        (SHAPE, ("x", "y"), {"freeze": ["patches", "block_0"]}),
        ((12, 4, 3), ("a", "b", "c"), {}),
        (SHAPE, ("a", "b", "c"), {"model": {"dropout": 0.1, "drop_path": 0.2}, "seed": 4}),
    ],
    ids=["same", "classes", "images", "regularization"],
)
def test_other_data_and_other_regularization_are_accepted(start, shape, classes, changes):
    make, path = start
    write_weights(path, make(), dataset_of(SHAPE))
    check_starting_point(make(**changes), dataset_of(shape, classes))


@pytest.mark.parametrize(
    ("key", "value", "found"),
    [
        ("patch_size", 2, "4"),
        ("hidden_size", 8, "16"),
        ("num_layers", 2, "1"),
        ("pool", "gap", "'cls'"),
        ("registers", 3, "0"),
        ("qk_norm", True, "False"),
        ("stem", "conv", "'linear'"),
        ("position", "learned", "'sincos2d'"),
    ],
)
def test_other_architecture_is_named(start, refuse, key, value, found):
    make, path = start
    write_weights(path, make(), dataset_of(SHAPE))
    message = refuse(dataset_of(SHAPE), model={key: value})
    assert message == (
        f"{path} holds another model than params.yaml describes: model.{key} {found} there, "
        f"{value!r} here; change these settings, or name another file in params.yaml: "
        "train.init_from"
    )


def test_all_differences_are_named_at_once(start, refuse):
    make, path = start
    write_weights(path, make(), dataset_of(SHAPE))
    message = refuse(dataset_of(SHAPE), model={"num_layers": 3, "mlp_dim": 7})
    assert "model.num_layers 1 there, 3 here; model.mlp_dim 16 there, 7 here" in message


def test_colours_cannot_become_other_colours(start, refuse):
    make, path = start
    write_weights(path, make(), dataset_of((8, 8, 4)))
    message = refuse(dataset_of((8, 8, 3)))
    assert "trained on images of 4 channels, those of shapes have 3; allowed: the same" in message


@pytest.mark.parametrize("classes", [("a", "b", "d"), ("a", "b"), ("b", "a", "c")], ids=str)
def test_head_that_is_made_anew_cannot_be_frozen(start, refuse, classes):
    make, path = start
    write_weights(path, make(), dataset_of(SHAPE))
    message = refuse(dataset_of(SHAPE, classes), freeze=["head"])
    assert "train.freeze holds 'head'" in message
    assert message.endswith("so its head is made anew; leave head out")


@pytest.mark.parametrize(
    "content", [b"", b"\xff" * 100, b"PK\x03\x04" + bytes(200)], ids=["empty", "bytes", "zip"]
)
def test_file_of_another_kind_is_refused(start, refuse, content):
    start[1].write_bytes(content)
    message = refuse(dataset_of(SHAPE))
    assert message.startswith(f"{start[1]} is not a weights file of this project (")
    assert message.endswith(
        "train.init_from; those of other libraries are read with: python -m vit_hk import"
    )


def test_truncated_file_is_refused(start, refuse):
    make, path = start
    write_weights(path, make(), dataset_of(SHAPE))
    path.write_bytes(path.read_bytes()[:-1])
    assert "is not a weights file of this project" in refuse(dataset_of(SHAPE))


def test_missing_file_and_folder_are_named(start, refuse):
    path = start[1]
    path.unlink()
    assert f"train.init_from is {path}, which is not there;" in refuse(dataset_of(SHAPE))
    path.mkdir()
    assert f"train.init_from is {path}, which is no file;" in refuse(dataset_of(SHAPE))


def test_description_says_what_is_kept_and_what_is_adapted(make_config):
    config = make_config(model={"position": "learned"}, batch_size=4)
    info = info_of(config, dataset_of((8, 8, 3), name="digits"))
    path = Path("models/digits.safetensors")
    start = "starting from models/digits.safetensors, trained on digits: "
    assert describe_start(path, info, dataset_of((8, 8, 3))) == f"{start}head kept"
    assert describe_start(path, info, dataset_of((16, 12, 1), ("x", "y"))) == (
        f"{start}new head, for other classes, positions resampled from 2 x 2 to 4 x 3 patches, "
        "filters of the patches adapted from 3 to 1 channels"
    )
    imported = info.model_copy(update={"data": None, "source": "imported from timm"})
    assert describe_start(path, imported, dataset_of((8, 8, 3))) == (
        "starting from models/digits.safetensors, imported from timm: head kept"
    )
