from pathlib import Path

import pytest

from vit_hk.atomic import check_folder_writable, check_writable, replacing
from vit_hk.errors import UserError


@pytest.fixture
def target(tmp_path) -> Path:
    path = tmp_path / "results" / "table.csv"
    path.parent.mkdir()
    path.write_text("old")
    return path


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def write_half(path: Path, failure: type[BaseException]) -> None:
    with replacing(path) as temporary:
        temporary.write_text("half of the n")
        raise failure


def test_new_content_replaces_the_old(target):
    with replacing(target) as temporary:
        temporary.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert files(target.parent) == ["table.csv"]


def test_temporary_file_lies_in_the_same_folder_with_the_same_suffix(target):
    # Another folder may be on another disk; matplotlib and NumPy choose a format by the suffix.
    with replacing(target) as temporary:
        temporary.write_text("new")
        assert temporary.parent == target.parent
        assert temporary.suffix == ".csv"


def test_missing_folder_is_created(tmp_path):
    with replacing(tmp_path / "a" / "b" / "c.txt") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "a" / "b" / "c.txt").read_text() == "new"


@pytest.mark.parametrize("name", [f"{'a' * 250}.csv", f"{'猫' * 83}.csv", f"a.{'b' * 253}"])
def test_a_name_may_have_all_bytes_that_the_system_allows(tmp_path, name):
    with replacing(tmp_path / name) as temporary:
        temporary.write_text("new")
    assert files(tmp_path) == [name]


def test_what_to_do_depends_on_the_fault(target, one_line):
    faults = {
        target.parent: "Is a directory; move the folder away",
        target / "below.txt": "Not a directory; move the file away",
        target.with_name("a" * 300): "File name too long; choose a shorter name",
    }
    for path, message in faults.items():
        with pytest.raises(UserError) as caught:
            check_writable(path)
        assert one_line(caught.value).startswith(f"{path} could not be written: {message}")
    with pytest.raises(UserError, match=r"table\.csv could not be written: Not a directory; move"):
        check_folder_writable(target)
    check_folder_writable(target.parent / "new" / "folder")
    assert files(target.parent) == ["table.csv"]


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt, SystemExit])
def test_failure_keeps_the_old_file_and_deletes_the_temporary_one(target, failure):
    with pytest.raises(failure):
        write_half(target, failure)
    assert target.read_text() == "old"
    assert files(target.parent) == ["table.csv"]


def test_failure_without_an_old_file_leaves_nothing(tmp_path):
    with pytest.raises(ValueError):  # noqa: PT011, the one that write_half raises
        write_half(tmp_path / "new.txt", ValueError)
    assert files(tmp_path) == []


def test_user_error_of_the_block_is_passed_on(target):
    with pytest.raises(UserError, match="mine"), replacing(target):
        raise UserError("mine")


def test_block_that_writes_nothing_is_an_error(target):
    with pytest.raises(UserError, match=r"table\.csv could not be written"), replacing(target):
        pass
    assert target.read_text() == "old"


def test_folder_that_cannot_be_created_is_named(target, one_line):
    # Below a file, where the superuser is refused as well.
    with pytest.raises(UserError) as caught, replacing(target / "below.txt"):
        pass
    message = one_line(caught.value)
    assert f"{target / 'below.txt'} could not be written: " in message


def test_folder_without_write_access_is_named(one_line):
    with pytest.raises(UserError) as caught, replacing("/proc/table.csv") as temporary:
        temporary.write_text("new")
    assert "/proc/table.csv could not be written: " in one_line(caught.value)


def test_target_that_is_a_folder_is_named(tmp_path, one_line):
    (tmp_path / "table.csv").mkdir()
    with pytest.raises(UserError) as caught, replacing(tmp_path / "table.csv") as temporary:
        temporary.write_text("new")
    assert "table.csv could not be written: Is a directory" in one_line(caught.value)
    assert files(tmp_path) == []
