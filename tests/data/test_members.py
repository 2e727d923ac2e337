import errno
import gzip
import io
import lzma
import os
import tarfile
import tracemalloc
import warnings
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vit_hk.data.sources import members as module
from vit_hk.data.sources.members import iterate_members
from vit_hk.errors import UserError

FILES = {"train/cat/1.png": b"one", "train/cat/2.png": b"two" * 1000, "猫/$x, y.jpg": b"three"}
ARCHIVES = ["zip", "tar", "tar.gz"]


def tar_member(name: str, **attributes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    for key, value in attributes.items():
        setattr(info, key, value)
    return info


def write(path, files: dict[str, bytes], folders: tuple[str, ...] = ()) -> None:
    """Write an archive of the kind that its name tells."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # zipfile warns of a duplicate name
            for name in folders:
                archive.writestr(f"{name}/", b"")
            for name, content in files.items():
                archive.writestr(name, content)
        return
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        for name in folders:
            archive.addfile(tar_member(name, type=tarfile.DIRTYPE))
        for name, content in files.items():
            archive.addfile(tar_member(name, size=len(content)), io.BytesIO(content))


def contents(root) -> dict[str, bytes]:
    read = {}
    for member in iterate_members(root):
        if not member.is_folder and not member.problem:
            source = member.open()
            name = "/".join(member.parts)
            read[name] = source.read_bytes() if hasattr(source, "read_bytes") else source.read()
    return read


def refuse(root, one_line) -> str:
    with pytest.raises(UserError) as caught:
        contents(root)
    message = one_line(caught.value)
    assert str(root) in message
    return message


def test_folder_is_read_to_any_depth(tmp_path):
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    (tmp_path / "empty").mkdir()
    assert contents(tmp_path) == FILES
    folders = {member.parts for member in iterate_members(tmp_path) if member.is_folder}
    assert folders == {("train",), ("train", "cat"), ("猫",), ("empty",)}


def test_link_to_a_folder_is_not_followed(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    problems = {member.parts: member.problem for member in iterate_members(tmp_path)}
    assert problems == {
        ("a",): None,
        ("a", "loop"): "a link to a folder, which is not followed",
    }


@pytest.mark.parametrize("kind", ARCHIVES)
def test_archive_is_read_in_place(tmp_path, kind):
    path = tmp_path / f"archive.{kind}"
    write(path, FILES, folders=("empty",))
    assert contents(path) == FILES
    assert ("empty",) in {member.parts for member in iterate_members(path) if member.is_folder}
    assert list(tmp_path.iterdir()) == [path]


def test_archive_is_known_by_its_content(tmp_path):
    for kind in ARCHIVES:
        write(tmp_path / f"archive.{kind}", FILES)
        path = (tmp_path / f"archive.{kind}").rename(tmp_path / kind.replace(".", "_"))
        assert contents(path) == FILES


@pytest.mark.parametrize("kind", ARCHIVES)
@pytest.mark.parametrize(
    "name", ["../x.png", "a/../../x.png", "/x.png", "..\\x.png", "a\\..\\..\\x.png", "a/.."]
)
def test_name_that_leads_out_is_refused(tmp_path, one_line, kind, name):
    write(tmp_path / f"a.{kind}", {**FILES, name: b"x"})
    message = refuse(tmp_path / f"a.{kind}", one_line)
    shown = name.replace("\\", "/") if kind == "zip" else name
    assert f"has a member named {shown!r}; allowed: relative paths" in message


def test_zip_of_windows_with_backslashes_has_folders(tmp_path):
    write(tmp_path / "a.zip", {"cat\\": b"", "cat\\1.png": b"x"})
    found = [(m.parts, m.is_folder) for m in iterate_members(tmp_path / "a.zip")]
    assert found == [(("cat",), True), (("cat", "1.png"), False)]


@pytest.mark.parametrize("kind", ARCHIVES)
def test_name_that_stands_twice_is_refused(tmp_path, one_line, kind):
    write(tmp_path / f"a.{kind}", {"a/1.png": b"x", "a/./1.png": b"y"})
    assert "has two members named 'a/./1.png'" in refuse(tmp_path / f"a.{kind}", one_line)


@pytest.mark.parametrize("kind", ARCHIVES)
def test_folder_and_hidden_file_may_stand_twice(tmp_path, kind):
    """As in `tar cf all.tar -C batch1 . -C batch2 .`."""
    names = (".DS_Store", "./.DS_Store", "cat/1.png")
    write(tmp_path / f"a.{kind}", dict.fromkeys(names, b""), folders=(".", "cat", "./cat"))
    files = [m.parts for m in iterate_members(tmp_path / f"a.{kind}") if not m.is_folder]
    assert files == [(".DS_Store",), (".DS_Store",), ("cat", "1.png")]


def test_links_and_devices_in_a_tar_archive_cannot_be_read(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE):
            member = tar_member(f"a/{kind.decode()}", type=kind, linkname="/etc/passwd")
            archive.addfile(member)
    found = list(iterate_members(tmp_path / "a.tar"))
    assert len(found) == 4
    assert {member.problem for member in found} == {"a link or a device"}


def test_encrypted_member_cannot_be_read(tmp_path):
    path = tmp_path / "a.zip"
    write(path, {"a/1.png": b"x"})
    raw = bytearray(path.read_bytes())
    entry = raw.index(b"PK\x01\x02")
    raw[entry + 8] |= 1
    path.write_bytes(raw)
    (member,) = iterate_members(path)
    assert member.problem == "encrypted"
    raw[entry + 10] = 99  # the method of AES
    path.write_bytes(raw)
    (member,) = iterate_members(path)
    assert member.problem == "encrypted"


def test_folder_that_cannot_be_read_is_named_unless_it_is_hidden(tmp_path, monkeypatch, one_line):
    for name in (".Trashes", "\x1b[31m\n"):
        (tmp_path / name).mkdir()
    refused = {".Trashes"}
    scandir = os.scandir

    def refuse(path):
        if Path(path).name in refused:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = {member.parts for member in iterate_members(tmp_path)}
    assert found == {(".Trashes",), ("\x1b[31m\n",)}
    refused.add("\x1b[31m\n")
    with pytest.raises(UserError) as caught:
        list(iterate_members(tmp_path))
    message = one_line(caught.value)
    assert message.startswith(f"'{tmp_path}/\\x1b[31m\\n' cannot be read (Permission denied)")


@pytest.mark.parametrize("kind", ARCHIVES)
def test_large_member_is_named_and_not_read(tmp_path, monkeypatch, kind):
    write(tmp_path / f"a.{kind}", FILES)
    monkeypatch.setattr(module, "MAX_FILE_BYTES", 2000)
    problems = {m.parts[-1]: m.problem for m in iterate_members(tmp_path / f"a.{kind}")}
    assert problems == {"1.png": None, "2.png": "more than 2,000 bytes", "$x, y.jpg": None}


@pytest.mark.parametrize("limit", ["MAX_TOTAL_BYTES", "MAX_MEMBERS"])
@pytest.mark.parametrize("kind", ARCHIVES)
def test_archive_that_is_too_large_is_refused(tmp_path, monkeypatch, one_line, kind, limit):
    write(tmp_path / f"a.{kind}", FILES)
    monkeypatch.setattr(module, limit, 2)
    assert "holds more than" in refuse(tmp_path / f"a.{kind}", one_line)


def test_with_folders_and_hidden_files_there_may_be_four_times_as_many_members(
    tmp_path, monkeypatch, one_line
):
    monkeypatch.setattr(module, "MAX_MEMBERS", 3)
    for count, is_refused in ((9, False), (10, True)):
        folders = [f"folder {number}" for number in range(count // 2)]
        hidden = {f".{number}": b"" for number in range(count - count // 2)}
        write(tmp_path / "a.tar", FILES | hidden, folders)
        if is_refused:
            assert "holds more than 3 files" in refuse(tmp_path / "a.tar", one_line)
        else:
            assert contents(tmp_path / "a.tar").keys() >= FILES.keys()


def test_backslash_that_is_a_part_of_a_letter_is_no_separator(tmp_path, without_utf_8_flag):
    """As in ZIP files of Windows in Japanese: 0x95 0x5C is one letter in Shift-JIS."""
    write(tmp_path / "a.zip", {"cat/ò_.png": b"x"})
    without_utf_8_flag(tmp_path / "a.zip")
    raw = (tmp_path / "a.zip").read_bytes()
    name = "ò_".encode()
    (tmp_path / "a.zip").write_bytes(raw.replace(name, b"\x95\\" + b"!"))
    with pytest.raises(UserError, match="has a member named 'cat/ò"):
        list(iterate_members(tmp_path / "a.zip"))


def test_a_tar_archive_that_ends_with_a_zip_file_is_a_tar_archive(tmp_path):
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("dog/9.png", b"nine")
    write(tmp_path / "a.tar", {**FILES, "z.zip": inner.getvalue()})
    assert zipfile.is_zipfile(tmp_path / "a.tar")  # its end is that of a ZIP file
    found = {"/".join(member.parts) for member in iterate_members(tmp_path / "a.tar")}
    assert found >= {*FILES, "z.zip"}
    assert "dog/9.png" not in found


def test_header_of_a_tar_archive_that_claims_gigabytes_takes_no_memory(tmp_path, one_line):
    # GNU's long names: tarfile reads as many bytes as the header claims. Zeros compress well.
    header = tar_member("././@LongLink", type=tarfile.GNUTYPE_LONGNAME, size=2**33)
    with gzip.open(tmp_path / "a.tar.gz", "wb") as file:
        file.write(header.tobuf(tarfile.GNU_FORMAT) + bytes(10_000))
    assert "a header claims too many bytes" in refuse(tmp_path / "a.tar.gz", one_line)


@pytest.mark.parametrize(
    ("kind", "size"), [(tarfile.GNUTYPE_LONGNAME, 2**33), (tarfile.XHDTYPE, 2**70)]
)
def test_first_header_that_claims_gigabytes_is_read_within_limits(tmp_path, one_line, kind, size):
    header = tar_member("a", type=kind, size=size).tobuf(tarfile.GNU_FORMAT)
    (tmp_path / "a.tar").write_bytes(header + bytes(10_000))
    assert "neither a folder nor an archive" in refuse(tmp_path / "a.tar", one_line)
    # Python would decompress it, although it is not among the archives that are allowed.
    with lzma.open(tmp_path / "a.tar.xz", "wb") as file:
        file.write(header + bytes(10_000))
    assert "neither a folder nor an archive" in refuse(tmp_path / "a.tar.xz", one_line)


def test_member_of_a_tar_archive_that_claims_more_than_any_file_is_refused(tmp_path, one_line):
    header = tar_member("a.png", size=2**70).tobuf(tarfile.GNU_FORMAT)
    (tmp_path / "a.tar").write_bytes(header + bytes(10_000))
    refuse(tmp_path / "a.tar", one_line)


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_member_that_python_decompresses_without_a_limit_is_not_read(tmp_path, compression):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", compression) as archive:
        archive.writestr("1.png", b"one")
    (member,) = iterate_members(tmp_path / "a.zip")
    assert member.problem == "compressed by another method than deflate"


def test_member_that_holds_more_than_it_claims_takes_no_memory(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("1.png", bytes(200_000_000))
    raw = bytearray((tmp_path / "a.zip").read_bytes())
    start = raw.index(b"PK\1\2") + 24
    raw[start : start + 4] = (1000).to_bytes(4, "little")
    (tmp_path / "a.zip").write_bytes(raw)
    tracemalloc.start()
    with pytest.raises(zipfile.BadZipFile, match="Bad CRC-32"):  # the checksum is of all bytes
        contents(tmp_path / "a.zip")
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "which is not there; with data.name = folder it must be a folder of images"),
        (b"notes", "which is neither a folder nor an archive; allowed with data.name = folder"),
        (b"", "which is neither a folder nor an archive"),
        (gzip.compress(b"notes"), "cannot be read"),
        (b"\x1f\x8bnotes", "cannot be read"),
    ],
    ids=["missing", "text", "empty", "gzip of text", "damaged gzip"],
)
def test_what_is_no_archive_is_refused(tmp_path, one_line, content, problem):
    path = tmp_path / "file"
    if content is not None:
        path.write_bytes(content)
    assert problem in refuse(path, one_line)


def test_member_of_a_zip_without_a_name_is_passed_over(tmp_path):
    path = tmp_path / "images.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(zipfile.ZipInfo(""), b"content")
        archive.writestr("a/b.png", b"content")
    assert [member.parts for member in iterate_members(path)] == [("a", "b.png")]


@pytest.mark.parametrize("kind", ["tar", "tar.gz"])
def test_tar_archive_with_a_damaged_header_is_refused(tmp_path, one_line, kind):
    write(tmp_path / "whole.tar", FILES)
    whole = (tmp_path / "whole.tar").read_bytes()
    with tarfile.open(tmp_path / "whole.tar") as archive:
        headers = [info.offset_data - tarfile.BLOCKSIZE for info in archive]
    damaged = [whole[:start] + b"\xff" + whole[start + 1 :] for start in headers]
    cut = [whole[: start + size] for start in headers for size in (1, 100, tarfile.BLOCKSIZE - 1)]
    path = tmp_path / f"a.{kind}"
    for content in damaged + cut:
        path.write_bytes(gzip.compress(content) if kind == "tar.gz" else content)
        refuse(path, one_line)


def test_compressed_archive_that_goes_on_for_ever_is_refused(tmp_path, one_line, monkeypatch):
    monkeypatch.setattr(module, "MAX_PADDING", 2**22)
    path = tmp_path / "a.tar"
    write(path, FILES)
    padded = tmp_path / "a.tar.gz"
    padded.write_bytes(gzip.compress(path.read_bytes() + bytes(2**21)))
    assert contents(padded) == FILES
    padded.write_bytes(gzip.compress(path.read_bytes() + bytes(2**23)))
    assert "bytes follow its last member" in refuse(padded, one_line)


def test_damaged_record_of_a_long_name_is_refused(tmp_path, one_line):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for name in ("1.png", "é" * 100 + ".png", "3.png"):
            archive.addfile(tarfile.TarInfo(name))
    assert len(contents(path)) == 3
    raw = path.read_bytes()
    length = raw.index(b" path=") - 3  # three digits, the length of the record
    path.write_bytes(raw[:length] + b"000" + raw[length + 3 :])
    refuse(path, one_line)


def test_checksum_of_gzip_at_the_end_is_checked(tmp_path, one_line):
    path = tmp_path / "a.tar.gz"
    write(path, FILES)
    raw = path.read_bytes()
    path.write_bytes(raw + b"notes")
    refuse(path, one_line)
    path.write_bytes(raw + bytes(1000))
    assert contents(path) == FILES
    for place in range(-8, 0):  # the checksum and the size
        path.write_bytes(raw[:place])
        refuse(path, one_line)
        changed = bytearray(raw)
        changed[place] ^= 1
        path.write_bytes(changed)
        refuse(path, one_line)


@pytest.mark.parametrize("end", [b"", bytes(100), bytes(512), bytes(2**20), bytes(1024) + b"notes"])
def test_tar_archive_may_end_in_other_ways(tmp_path, end):
    path = tmp_path / "a.tar"
    write(path, FILES)
    with tarfile.open(path) as archive:
        last = archive.getmembers()[-1]
    path.write_bytes(path.read_bytes()[: last.offset_data + tarfile.BLOCKSIZE] + end)
    assert contents(path) == FILES


@pytest.mark.parametrize("kind", ARCHIVES)
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_damaged_archive_ends_in_one_line_or_is_read(tmp_path, kind, data):
    path = tmp_path / f"a.{kind}"
    write(path, FILES)
    raw = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    del raw[data.draw(st.integers(1, 2 * len(raw))) :]
    path.write_bytes(raw)
    text = "none"
    try:
        for member in iterate_members(path):
            try:
                member.open()
            except (OSError, *module.ARCHIVE_ERRORS) as error:
                text = " ".join(str(error).split())
    except UserError as error:
        text = str(error)
    assert len(text.splitlines()) <= 1
