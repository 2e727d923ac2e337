import errno
import io
import os
import sys
import warnings
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from vit_hk.commands.find_images import find_images
from vit_hk.data.image_preparation import UnreadableImageError
from vit_hk.errors import UserError


def png(level: int = 0) -> bytes:
    stream = io.BytesIO()
    Image.new("L", (3, 2), level).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """Return the current folder, with images, a text and files that are ignored."""
    for level, name in enumerate(
        ["b/10.png", "b/2.png", "a.png", "note.txt", ".hidden.png", ".git/c.png", "Thumbs.db",
         "__MACOSX/a.png", "b/[x].png"]
    ):  # fmt: skip
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(png(level))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make_zip(path: Path, names: list[str], compression: int = zipfile.ZIP_DEFLATED) -> None:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for level, name in enumerate(names):
            archive.writestr(name, "" if name.endswith("/") else png(level))


def names(*arguments: str) -> list[str]:
    return [image.name for image in find_images(list(arguments))]


def test_folder_stands_for_its_visible_files_in_natural_order(folder):
    assert names(".") == ["a.png", "b/2.png", "b/10.png", "b/[x].png", "note.txt"]
    assert names("b") == ["b/2.png", "b/10.png", "b/[x].png"]
    assert names(str(folder / "b"))[0] == str(folder / "b/2.png")


def test_links_in_a_folder_are_listed_and_those_that_are_no_image_unreadable(folder):
    (folder / "b/to_image.png").symlink_to(folder / "a.png")
    (folder / "b/broken.png").symlink_to(folder / "nowhere.png")
    (folder / "b/to_folder").symlink_to(folder)  # in a circle
    found = {image.name: image for image in find_images(["b"])}
    assert found["b/to_image.png"].open().size == (3, 2)
    for name in ("b/broken.png", "b/to_folder"):
        with pytest.raises(UnreadableImageError, match=r"not there|not a file"):
            found[name].open()


def test_folder_that_may_not_be_read_is_named(folder, monkeypatch, one_line):
    scandir = os.scandir

    def refuse(path: str) -> object:  # root, as whom tests may run, reads everything
        if str(path).endswith("b"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    (folder / "b").rename(folder / ".b")
    assert names(str(folder)) == [str(folder / "a.png"), str(folder / "note.txt")]  # nor looked at
    (folder / ".b").rename(folder / "b")
    for argument in (str(folder), str(folder / "**/*.png")):
        with pytest.raises(UserError, match="/b' cannot be read: Permission denied") as error:
            names(argument)
        one_line(error.value)


@pytest.mark.usefixtures("folder")
def test_files_are_taken_in_the_order_of_the_arguments_hidden_or_not():
    assert names("b/10.png", ".hidden.png", "a.png") == ["b/10.png", ".hidden.png", "a.png"]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("b/*0.png", ["b/10.png"]),
        ("**/*.png", ["a.png", "b/2.png", "b/10.png", "b/[x].png"]),
        ("**", ["a.png", "b/2.png", "b/10.png", "b/[x].png", "note.txt"]),
        ("**/b", ["b/2.png", "b/10.png", "b/[x].png"]),
        ("**/?/", ["b/2.png", "b/10.png", "b/[x].png"]),
        ("**/**/[0-9]*.png", ["b/2.png", "b/10.png"]),
        ("*/**/2.*", ["b/2.png"]),
        ("./**/2.*", ["b/2.png"]),
        ("?.png", ["a.png"]),
        ("b**", ["b/2.png", "b/10.png", "b/[x].png"]),
        ("b/**", ["b/2.png", "b/10.png", "b/[x].png"]),  # the folder and the files in it
        ("[ab]", ["b/2.png", "b/10.png", "b/[x].png"]),
        ("b/[x].png", ["b/[x].png"]),  # the file of this name comes first
    ],
)
def test_patterns(folder, pattern, found):
    assert sorted(names(pattern)) == sorted(found)
    absolute = names(str(folder / pattern))
    assert sorted(absolute) == sorted(str(folder / name) for name in found)


def test_any_folders_of_a_pattern_are_those_of_a_folder(folder):
    (folder / "c/d").mkdir(parents=True)
    (folder / "c/d/5.png").write_bytes(png())
    (folder / "c/loop.png").symlink_to(folder)
    (folder / "c/sibling").symlink_to(folder / "b")
    assert names("c/**") == names("c") == ["c/d/5.png", "c/loop.png", "c/sibling"]
    assert names("c/**/*.png") == ["c/d/5.png", "c/loop.png"]
    with pytest.raises(UnreadableImageError, match="not a file"):
        find_images(["c/**/loop.png"])[0].open()
    make_zip(folder / "c/d/6.zip", ["1.png"])
    assert names("c/**/*.zip") == ["c/d/6.zip/1.png"]


def test_members_of_a_zip_are_read_in_place(folder):
    make_zip(folder / "c.ZIP", ["10.png", "d/", "d/2.png", "d/1.png", "__MACOSX/._1.png", ".x/3"])
    images = find_images(["c.ZIP"])
    assert [image.name for image in images] == ["c.ZIP/10.png", "c.ZIP/d/1.png", "c.ZIP/d/2.png"]
    assert [image.open().getpixel((0, 0)) for image in images] == [0, 3, 2]
    assert {path.name for path in folder.iterdir()} >= {"a.png", "c.ZIP"}
    assert not (folder / "d").exists()


def test_name_that_stands_twice_in_a_zip_is_refused(folder, one_line):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile warns of a duplicate name
        make_zip(folder / "c.zip", ["d/", "d/", "d/1.png", ".x", ".x", "__MACOSX/1", "__MACOSX/1"])
        make_zip(folder / "\n.zip", ["d/1.png", "2.png", "d\\1.png"])
    assert names("c.zip") == ["c.zip/d/1.png"]
    with pytest.raises(UserError) as caught:
        names("\n.zip")
    assert "'\\n.zip' has two members named 'd/1.png'" in one_line(caught.value)


def test_names_of_other_programs_are_read(folder):
    make_zip(folder / "c.zip", ["../photos/1.png", "dogs\\2.png", "dogs\\Thumbs.db", "dogs\\"])
    images = find_images(["c.zip"])
    assert [image.name for image in images] == ["c.zip/../photos/1.png", "c.zip/dogs/2.png"]
    assert [image.open().size for image in images] == [(3, 2)] * 2


@pytest.mark.parametrize("name", ["猫/é.png", "Hündin/1.png"])
def test_names_in_utf_8_need_no_flag(folder, without_utf_8_flag, name):
    make_zip(folder / "c.zip", [name])
    without_utf_8_flag(folder / "c.zip")
    (image,) = find_images(["c.zip"])
    assert image.name == f"c.zip/{name}"
    assert image.open().size == (3, 2)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_damaged_member_is_unreadable_and_others_are_not(folder, compression):
    make_zip(folder / "c.zip", ["1.png", "2.png"], compression)
    raw = bytearray((folder / "c.zip").read_bytes())
    start = raw.index(b"1.png") + len("1.png")
    raw[start + 9 : start + 29] = b"\xff" * 20
    (folder / "c.zip").write_bytes(raw)
    first, second = find_images(["c.zip"])
    with pytest.raises(UnreadableImageError, match="damaged"):
        first.open()
    assert second.open().getpixel((0, 0)) == 1


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_member_that_python_decompresses_without_a_limit_is_unreadable(folder, compression):
    make_zip(folder / "c.zip", ["1.png"], compression)
    (image,) = find_images(["c.zip"])
    with pytest.raises(UnreadableImageError, match="compressed by another method"):
        image.open()


def test_member_whose_name_is_no_utf_8_is_unreadable(folder):
    make_zip(folder / "c.zip", ["é.png"])
    raw = bytearray((folder / "c.zip").read_bytes())
    raw[30] = 0xFF  # the name in front of the member; that in the table of contents is valid
    (folder / "c.zip").write_bytes(raw)
    (image,) = find_images(["c.zip"])
    with pytest.raises(UnreadableImageError, match="damaged"):
        image.open()


def test_encrypted_member_is_unreadable(folder):
    make_zip(folder / "c.zip", ["1.png"])
    raw = bytearray((folder / "c.zip").read_bytes())
    raw[raw.index(b"PK\1\2") + 8] |= 1  # the flag of encryption, in both headers
    raw[6] |= 1
    (folder / "c.zip").write_bytes(raw)
    (image,) = find_images(["c.zip"])
    with pytest.raises(UnreadableImageError, match="encrypted"):
        image.open()


def test_member_without_a_name_is_no_error(folder):
    path = folder / "some.zip"
    make_zip(path, ["?x.png", "a.png"])
    path.write_bytes(path.read_bytes().replace(b"?x.png", b"\0x.png"))  # zipfile cuts it at NUL
    assert "some.zip/a.png" in names("some.zip")


def test_closed_stdin_is_unreadable(monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)  # as Python does
    (image,) = find_images(["-"])
    with pytest.raises(UnreadableImageError, match="closed"):
        image.open()


def test_stdin(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(png(7))))
    (image,) = find_images(["-"])
    assert image.name == "stdin"
    assert image.open().getpixel((0, 0)) == 7


@pytest.mark.parametrize(
    ("argument", "problem"),
    [
        ("none.png", "'none.png' is not there"),
        ("", "a name is empty"),
        ("*.jpg", "'*.jpg' is not there"),
        ("empty", "'empty' holds no file"),
        ("bad.zip", "'bad.zip' cannot be read as a ZIP file"),
        ("empty.zip", "'empty.zip' holds no file"),
        ("line\nbreak\0", "'line\\nbreak\\x00' is not there"),
        ("\x1b[31m\n.zip", "'\\x1b[31m\\n.zip' cannot be read as a ZIP file"),
        ("empty/*/", "'empty/*/' holds no file"),
        ("none/**", "'none/**' is not there"),
        ("a.png/**", "'a.png/**' is not there"),
        ("b/**/*.jpg", "'b/**/*.jpg' is not there"),
        ("**/.hidden.png", "'**/.hidden.png' is not there"),
        ("x" * 5000, "cannot be read: File name too long"),
        ("x" * 5000 + "*", "cannot be read: File name too long"),
    ],
)
def test_arguments_that_name_nothing_are_refused(folder, one_line, argument, problem):
    (folder / "empty" / "too").mkdir(parents=True)
    for name in ("bad.zip", "\x1b[31m\n.zip"):
        (folder / name).write_bytes(b"PK no zip")
    make_zip(folder / "empty.zip", ["__MACOSX/x"])
    with pytest.raises(UserError) as caught:
        find_images(["a.png", argument])
    assert problem in one_line(caught.value)
