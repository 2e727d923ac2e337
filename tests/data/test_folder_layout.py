from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vit_hk.data.sources.folder_layout import find_layout, natural_order
from vit_hk.errors import UserError

ROOT = Path("photos")


def paths(*names: str) -> list[tuple[str, ...]]:
    return [tuple(name.split("/")) for name in names]


def layout_of(*files: str, folders: tuple[str, ...] = (), test_fraction: float = 0.5):
    return find_layout(ROOT, paths(*files), paths(*folders), test_fraction)


def refuse(one_line, *files: str, folders: tuple[str, ...] = ()) -> str:
    with pytest.raises(UserError) as caught:
        layout_of(*files, folders=folders)
    message = one_line(caught.value)
    assert message.startswith("photos has ")
    return message


def test_folders_train_and_test_are_the_splits():
    layout = layout_of("train/b/2.png", "test/a/1.png", "train/b/10.png", "train/a/x/y.png")
    assert layout.class_names == ("a", "b")
    assert layout.files == [paths("train/a/x/y.png", "train/b/2.png", "train/b/10.png"),
                            paths("test/a/1.png")]  # fmt: skip
    assert [labels.tolist() for labels in layout.labels] == [[0, 1, 1], [0]]
    assert layout.problems == {}


def test_classes_of_one_split_only_and_empty_ones_are_classes():
    layout = layout_of("train/a/1.png", "test/b/1.png", folders=("train/c", "train", "test/b"))
    assert layout.class_names == ("a", "b", "c")


def test_without_splits_a_share_of_each_class_is_tested():
    files = [f"{name}/{n}.png" for name, count in (("a", 10), ("b", 5), ("c", 1))
             for n in range(count)]  # fmt: skip
    layout = layout_of(*files, test_fraction=0.2)
    assert [np.bincount(labels, minlength=3).tolist() for labels in layout.labels] == [
        [8, 4, 1],
        [2, 1, 0],
    ]
    assert sorted(layout.files[0] + layout.files[1]) == sorted(paths(*files))
    # The order in which a file system lists files decides nothing.
    again = layout_of(*reversed(files), test_fraction=0.2)
    assert again.files == layout.files


def test_names_of_classes_are_sorted_as_people_do():
    names = ["item 10", "item 2", "Item 1", "z", "ä", "猫", "$x, y", "<b>", "01", "1", "007"]
    layout = layout_of(*(f"{name}/{n}.png" for name in names for n in (1, 2)))
    assert layout.class_names == (
        "01", "1", "007", "$x, y", "<b>", "Item 1", "item 2", "item 10", "z", "ä", "猫",
    )  # fmt: skip


@given(st.lists(st.integers(0, 10**30), unique=True))
def test_numbers_are_in_order(numbers):
    names = [f"class{number}b" for number in numbers]
    expected = [f"class{number}b" for number in sorted(numbers)]
    assert sorted(names, key=natural_order) == expected


@given(st.lists(st.text(), unique=True))
def test_order_of_any_names_is_total(names):
    backwards = names[::-1]
    assert sorted(names, key=natural_order) == sorted(backwards, key=natural_order)


def test_files_without_a_class_are_problems():
    layout = layout_of("a/1.png", "b/1.png", "README.txt")
    assert layout.problems == {("README.txt",): "lies in no folder of a class"}
    layout = layout_of("train/a/1.png", "train/b/1.png", "test/a/1.png", "train/labels.csv", "x")
    assert set(layout.problems) == {("train", "labels.csv"), ("x",)}


def test_a_class_may_be_called_like_a_split_and_be_nested_in_itself():
    layout = layout_of("train/train/1.png", "train/train/2.png", "bus/bus/1.png", "bus/bus/2.png")
    assert layout.class_names == ("bus", "train")
    assert not layout.problems


def test_names_that_no_class_can_have_are_problems():
    names = ("a", "b\x07", "M\udce4nner", "c" * 201, "\u200b")
    layout = layout_of(*(f"{name}/1.png" for name in names))
    assert {path[0]: problem.split(";")[0] for path, problem in layout.problems.items()} == {
        "b\x07": "a class, which has the control character U+0007",
        "M\udce4nner": "a class, which is not in UTF-8 (byte 0xE4)",
        "c" * 201: "a class, which has 201 characters",
        "\u200b": "a class",
    }
    layout = layout_of("train/a/1.png", "train/b\x07/1.png", "test/a/1.png", "test/b\x07/1.png")
    assert set(layout.problems) == {("train", "b\x07"), ("test", "b\x07")}


@pytest.mark.parametrize(
    ("files", "folders", "problem"),
    [
        ((), (), "no folder of a class; allowed: 2 to 2,000 folders, as CLASS/IMAGE, or as"),
        (("cat/1.png",), (), "one folder of a class, 'cat'; allowed: 2 to 2,000"),
        (("train/a/1.png", "train/b/1.png"), (), "one folder of a class, 'train'"),
        ((), ("a", "b"), "no train images"),
        (("a/1.png", "b/1.png"), (), "no test images; a class needs two or more"),
        (("train/a/1.png", "train/b/1.png"), ("test",), "no test images; put some into test/CLASS"),
        (("train/a/1.png", "val/a/1.png"), (), "the folders 'train', 'val'; allowed: train and"),
        (("Train/a/1.png", "Test/a/1.png"), (), "the folders 'Test', 'Train'; allowed: train and"),
        (("train/a/1.png", "test/a/1.png", "validation/a/1.png"), (), "'validation'; allowed"),
        (("Training/a/1.png", "Test/a/1.png"), (), "the folders 'Test', 'Training'; allowed"),
        (("seg_train/a/1.png", "seg_test/a/1.png"), (), "the folders 'seg_test', 'seg_train'"),
        (("train_data/a/1.png", "test_data/a/1.png"), (), "the folders 'test_data', 'train_data'"),
        (("trainset/a/1.png", "testset/a/1.png"), (), "the folders 'testset', 'trainset'"),
        (("train2017/a/1.png", "val2017/a/1.png"), (), "the folders 'train2017', 'val2017'"),
        (("my-train/a/1.png", "my-eval/a/1.png"), (), "the folders 'my-eval', 'my-train'"),
        (("cat/1.png", "dog/1.png", "test/cat/1.png"), (), "the folders 'cat', 'dog', 'test'"),
    ],
)
def test_folder_that_is_no_data_set_is_refused(one_line, files, folders, problem):
    assert problem in refuse(one_line, *files, folders=folders)
