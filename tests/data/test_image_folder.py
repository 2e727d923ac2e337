import dataclasses
import shutil
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from image_files import encoded, random_image, write_folder
from PIL import Image
from small_disk import disk_of

from vit_hk.data.dataset import load_dataset, save_dataset
from vit_hk.data.sources import image_folder
from vit_hk.data.sources.image_folder import MAX_LISTED
from vit_hk.data.sources.image_spool import ImageSpool
from vit_hk.data.sources.load import check_replaceable, load_source
from vit_hk.errors import UserError
from vit_hk.params import DataSettings

CLASSES = {"class 2": 5, "class 10": 4, "$x, <b>y": 3, "猫": 2}
SORTED = ("$x, <b>y", "class 2", "class 10", "猫")


def data_settings(root, **changes) -> DataSettings:
    values = {
        "name": "folder", "root": str(root), "offline": "fail", "image_size": [7, 9],
        "channels": None, "resize": "crop", "background": 0, "test_fraction": 0.25,
    }  # fmt: skip
    return DataSettings(**{**values, **changes})


def load(root, **changes):
    return load_source(data_settings(root, **changes), root)


def refuse(root, **changes) -> str:
    with pytest.raises(UserError) as caught:
        load(root, **changes)
    return str(caught.value)


@pytest.fixture
def photos(tmp_path):
    write_folder(tmp_path / "my photos", CLASSES)
    return tmp_path / "my photos"


def pixels_of(root, name: str) -> np.ndarray:
    return np.asarray(Image.open(root / name))


def test_images_are_decoded_on_the_cores_that_the_process_may_use(photos, monkeypatch):
    pools = []

    def pool(workers):
        pools.append(workers)
        return ThreadPoolExecutor(workers)

    monkeypatch.setattr(image_folder, "usable_cores", lambda: 3)
    monkeypatch.setattr(image_folder, "ThreadPoolExecutor", pool)
    load(photos)
    assert set(pools) == {3}


def test_folder_of_classes_becomes_a_data_set(photos, tmp_path):
    dataset = load(photos)
    assert dataset.class_names == SORTED
    assert (dataset.name, dataset.source) == ("my photos", "folder of images: my photos")
    assert np.bincount(dataset.y_test).tolist() == [1, 1, 1, 1]
    assert np.bincount(dataset.y_train).tolist() == [2, 4, 3, 1]
    assert dataset.preparation.model_dump() == {
        "height": 7, "width": 9, "channels": 1, "resize": "crop", "background": 0
    }  # fmt: skip
    # Each file's pixels stand once, with the label of its folder.
    found = {
        (image.tobytes(), SORTED[label])
        for images, labels in (
            (dataset.x_train, dataset.y_train),
            (dataset.x_test, dataset.y_test),
        )
        for image, label in zip(images, labels, strict=True)
    }
    files = photos.rglob("*.png")
    expected = {(np.asarray(Image.open(file)).tobytes(), file.parent.name) for file in files}
    assert found == expected
    # The stage `download` can write it, read it, and replace it.
    path = tmp_path / "dataset.npz"
    save_dataset(dataset, path)
    assert load_dataset(path).preparation == dataset.preparation
    check_replaceable(path)


def with_splits(tmp_path):
    write_folder(tmp_path / "own" / "train", {"a": 3, "b": 2})
    write_folder(tmp_path / "own" / "test", {"a": 2, "c": 1})
    (tmp_path / "own" / "train" / "empty").mkdir()
    return tmp_path / "own"


def test_folders_train_and_test(tmp_path):
    root = with_splits(tmp_path)
    dataset = load(root)
    assert dataset.class_names == ("a", "b", "c", "empty")
    assert dataset.y_train.tolist() == [0, 0, 0, 1, 1]
    assert dataset.y_test.tolist() == [0, 0, 2]
    np.testing.assert_array_equal(dataset.x_train[4, ..., 0], pixels_of(root, "train/b/2.png"))
    np.testing.assert_array_equal(dataset.x_test[2, ..., 0], pixels_of(root, "test/c/1.png"))


@pytest.mark.parametrize("kind", ["zip", "tar", "gztar"])
@pytest.mark.parametrize("top", [True, False], ids=["in one folder", "at the top"])
def test_archive_gives_the_same_as_the_folder(tmp_path, kind, top):
    root = with_splits(tmp_path)
    folder = load(root)
    base = {"root_dir": tmp_path, "base_dir": "own"} if top else {"root_dir": root}
    path = shutil.make_archive(str(tmp_path / "packed.up"), kind, **base)
    dataset = load(path)
    assert dataset.name == "packed.up"
    for field in ("x_train", "y_train", "x_test", "y_test"):
        np.testing.assert_array_equal(getattr(dataset, field), getattr(folder, field))
    assert dataset.class_names == folder.class_names


def test_class_names_in_an_archive_of_macos_are_those_of_the_folders(
    photos, tmp_path, without_utf_8_flag
):
    path = Path(shutil.make_archive(str(tmp_path / "photos"), "zip", photos))
    without_utf_8_flag(path)
    assert load(path).class_names == SORTED


@pytest.mark.parametrize("below", ["", "train/"])
def test_file_beside_the_folder_of_an_archive_is_named(tmp_path, below):
    write_folder(tmp_path / "own" / "photos" / below, {"a": 3, "b": 2})
    if below:
        write_folder(tmp_path / "own" / "photos" / "test", {"a": 3, "b": 2})
    (tmp_path / "own" / "README.txt").write_text("notes")
    path = shutil.make_archive(str(tmp_path / "own"), "zip", tmp_path / "own")
    message = refuse(path)
    assert "README.txt" in message
    assert "lies in no folder of a class" in message
    assert "one folder of a class" not in message


def test_files_of_an_archive_have_their_paths_in_it(tmp_path):
    write_folder(tmp_path / "own" / "photos", {"a": 3, "b": 2})
    for name in ("README.txt", "photos/README.txt", "photos/b/notes.txt"):
        (tmp_path / "own" / name).write_text("notes")
    message = refuse(shutil.make_archive(str(tmp_path / "own"), "zip", tmp_path / "own"))
    for name in ("README.txt", "photos/README.txt", "photos/b/notes.txt"):
        assert f"'{name}'" in message
    assert "3 files" in message


def test_archive_with_one_class_says_so(tmp_path):
    write_folder(tmp_path / "own", {"cat": 3})
    path = shutil.make_archive(str(tmp_path / "own"), "zip", tmp_path / "own")
    assert "has one folder of a class, 'cat'" in refuse(path)


def test_archive_with_a_folder_train_alone_is_no_folder_of_classes(tmp_path):
    write_folder(tmp_path / "own" / "train", {"a": 3, "b": 2})
    path = shutil.make_archive(str(tmp_path / "own"), "zip", tmp_path / "own")
    assert "has one folder of a class, 'train'" in refuse(path)


def test_test_images_do_not_depend_on_how_files_are_listed(tmp_path):
    contents = {f"{c}/{n}.png": encoded(random_image(10 * n, "L", 9, 7)) for c in "ab"
                for n in range(8)}  # fmt: skip
    loaded = []
    for number, order in enumerate((sorted(contents), sorted(contents, reverse=True))):
        with zipfile.ZipFile(tmp_path / f"{number}.zip", "w") as archive:
            for name in order:
                archive.writestr(name, contents[name])
        loaded.append(load(tmp_path / f"{number}.zip"))
    np.testing.assert_array_equal(loaded[0].x_test, loaded[1].x_test)
    np.testing.assert_array_equal(loaded[0].x_train, loaded[1].x_train)


def test_hidden_files_are_ignored_and_counted(photos, capsys):
    expected = load(photos)
    capsys.readouterr()
    for name in (".DS_Store", "猫/._1.png", "猫/Thumbs.db", "class 2/desktop.ini"):
        (photos / name).write_text("no image")
    write_folder(photos / "__MACOSX", {"猫": 2})
    write_folder(photos, {".hidden": 2})
    dataset = load(photos)
    assert dataset.class_names == SORTED
    np.testing.assert_array_equal(dataset.x_train, expected.x_train)
    printed = capsys.readouterr().out
    assert printed == f"{photos}: hidden files and files of the system, ignored: 8\n"


def test_files_that_cannot_be_used_are_named_all_at_once(photos):
    (photos / "README.txt").write_text("notes")
    (photos / "猫" / "labels.csv").write_text("1,2\n")
    (photos / "猫" / "3\n.png").write_bytes(b"")
    damaged = (photos / "class 2" / "1.png").read_bytes()
    (photos / "class 2" / "1.png").write_bytes(damaged[:60])
    Image.fromarray(np.full((7, 9), 2.0, np.float32)).save(photos / "class 2" / "9.tif")
    (photos / "class 10" / "link").symlink_to(photos)
    first, *lines, last = refuse(photos).splitlines()
    assert first == f"{photos} holds 6 files or folders that cannot be used:"
    assert [line.split(":")[0] for line in lines] == [
        "  'README.txt'", "  'class 10/link'", "  'class 2/1.png'", "  'class 2/9.tif'",
        "  '猫/3\\n.png'", "  '猫/labels.csv'",
    ]  # fmt: skip
    assert lines[0].endswith(": lies in no folder of a class")
    assert lines[1].endswith(": a link to a folder, which is not followed")
    assert lines[2].endswith(": damaged: image file is truncated")
    assert lines[3].endswith(": pixels from 2 to 2; allowed: 0 to 1 in floats")
    assert lines[4].endswith(": empty file")
    assert "no image" in lines[5]
    assert last == "repair them or take them out, and start again"


def test_reason_why_classes_are_missing_is_named_first(photos, tmp_path):
    (tmp_path / "own" / "猫").mkdir(parents=True)
    (tmp_path / "own" / "link").symlink_to(photos / "class 2")
    assert "  'link': a link to a folder, which is not followed\n" in refuse(tmp_path / "own")


def test_of_many_such_files_some_are_named_and_all_counted(photos):
    for number in range(MAX_LISTED + 5):
        (photos / "猫" / f"{number}.txt").write_text("no image")
    lines = refuse(photos).splitlines()
    assert lines[0].endswith("holds 25 files or folders that cannot be used:")
    assert len(lines) == 1 + MAX_LISTED + 1 + 1
    assert lines[-2] == "  and 5 more"


def test_damaged_member_of_an_archive_is_named(photos, tmp_path):
    path = shutil.make_archive(str(tmp_path / "photos"), "zip", photos)
    content = (photos / "猫" / "1.png").read_bytes()
    with zipfile.ZipFile(path, "a") as archive:  # stored, so that its bytes can be found
        archive.writestr("猫/3.png", content + b"a mark")
    raw = bytearray((tmp_path / "photos.zip").read_bytes())
    raw[raw.index(b"a mark")] ^= 1
    (tmp_path / "photos.zip").write_bytes(raw)
    lines = refuse(path).splitlines()
    assert len(lines) == 3
    assert lines[1] == "  '猫/3.png': damaged: Bad CRC-32 for file '猫/3.png'"


def test_archive_that_ends_early_is_refused(photos, tmp_path):
    for kind, ending in (("zip", "zip"), ("gztar", "tar.gz"), ("tar", "tar")):
        shutil.make_archive(str(tmp_path / "photos"), kind, photos)
        path = tmp_path / f"photos.{ending}"
        path.write_bytes(path.read_bytes()[:-11000] or path.read_bytes()[:800])
        assert str(path) in refuse(path)


def test_images_are_brought_to_one_size_and_to_colours(photos):
    Image.new("RGB", (40, 80), (250, 10, 20)).save(photos / "猫" / "red.jpg", quality=100)
    dataset = load(photos, image_size=[8, 6], background=99, resize="pad")
    assert dataset.image_shape == (8, 6, 3)
    # A grey image of 7 x 9 pixels has bars of the background above and below.
    grey = dataset.x_test[dataset.y_test == 0][0]
    assert (grey[0] == 99).all()
    assert (grey[..., :1] == grey).all()
    assert load(photos, channels=1).image_shape == (7, 9, 1)
    (photos / "猫" / "red.jpg").unlink()
    assert load(photos).image_shape == (7, 9, 1)
    assert load(photos, channels=3).image_shape == (7, 9, 3)


def test_images_that_the_disk_has_no_room_for_are_refused_before_they_are_read(
    photos, monkeypatch, one_line
):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=5291))
    with pytest.raises(UserError) as caught:
        load(photos)
    assert "5,292 bytes are needed on the disk of " in one_line(caught.value)


def test_disk_that_fills_up_while_images_are_prepared_is_named(photos, one_line):
    with disk_of(1000), pytest.raises(UserError) as caught:
        load(photos)
    message = one_line(caught.value)
    assert "a temporary file in " in message
    assert message.endswith(
        "could not be written: File too large; free disk space or fix the permissions there"
    )


def test_file_that_goes_while_images_are_read_is_named(photos, monkeypatch):
    class Losing(ImageSpool):
        def __init__(self, *arguments) -> None:
            (photos / "猫" / "1.png").unlink()
            super().__init__(*arguments)

    monkeypatch.setattr("vit_hk.data.sources.image_folder.ImageSpool", Losing)
    assert "'猫/1.png': has gone while the images were read" in refuse(photos)


def test_folder_needs_a_size(photos):
    with pytest.raises(ValueError, match=r"data\.image_size is null; with data\.name = folder"):
        data_settings(photos, image_size=None)


def test_folder_whose_name_no_data_set_can_have_is_refused(photos, tmp_path):
    odd = photos.rename(tmp_path / "photos\x07")
    (tmp_path / "link").symlink_to(odd)
    with pytest.raises(UserError, match=r"link has the name 'photos\\x07', which has the control"):
        load(tmp_path / "link")


def test_home_folder_is_not_expanded():  # DVC, which watches the path, does not
    with pytest.raises(ValueError, match=r"for DVC a folder of the name ~"):
        data_settings("~/photos")


def test_tar_archive_of_the_current_folder(photos, tmp_path):
    # As `tar -cf photos.tar -C photos .` writes it: all names begin with "./".
    with tarfile.open(tmp_path / "photos.tar", "w") as archive:
        archive.add(photos, ".")
    dataset = load(tmp_path / "photos.tar")
    expected = dataclasses.asdict(load(photos))
    np.testing.assert_array_equal(dataset.x_test, expected["x_test"])


def test_files_that_wait_are_few_and_together_small(photos, tmp_path, monkeypatch):
    archive = shutil.make_archive(str(tmp_path / "photos"), "tar", photos)
    sizes = {path.stat().st_size for path in photos.rglob("*.*")}
    limit = 3 * max(sizes)
    expected = load(photos)
    monkeypatch.setattr(image_folder, "MAX_WAITING_BYTES", limit)
    waiting, most = [], [0]

    class SlowPool(ThreadPoolExecutor):
        """Does a job when its result is asked for."""

        def submit(self, job, spool, index, source, preparation):
            def result():
                waiting.remove(size)
                return job(spool, index, source, preparation)

            size = len(source.getvalue())
            most[0] = max(most[0], sum(waiting))
            waiting.append(size)
            return SimpleNamespace(result=result)

    monkeypatch.setattr(image_folder, "ThreadPoolExecutor", SlowPool)
    found = load(archive)
    assert limit - max(sizes) < most[0] <= limit
    assert not waiting
    np.testing.assert_array_equal(found.x_train, expected.x_train)


def test_large_images_of_many_threads_keep_their_order(tmp_path):
    for label in "ab":
        (tmp_path / "own" / label).mkdir(parents=True)
        for number in range(30):
            side = 400 if number % 3 else 4
            image = Image.new("L", (side, side), 4 * number + (label == "b"))
            (tmp_path / "own" / label / f"{number}.png").write_bytes(encoded(image))
    dataset = load(tmp_path / "own", image_size=[4, 4])
    levels = dataset.x_train[:, 0, 0, 0].tolist()
    assert [level % 4 for level in levels] == dataset.y_train.tolist()
    both = np.concatenate([dataset.x_train, dataset.x_test])
    assert sorted(both[:, 0, 0, 0].tolist()) == sorted(
        4 * number + label for number in range(30) for label in (0, 1)
    )
