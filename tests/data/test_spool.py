import threading

import numpy as np
import pytest

from vit_hk.data import spool
from vit_hk.data.sources.image_spool import ImageSpool
from vit_hk.data.spool import NoRoomError, Spool


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_bytes_written_in_any_order_are_mapped_in_their_order():
    with Spool(10) as file:
        file.write(6, b"6789")
        file.write(0, memoryview(np.arange(48, 54, dtype=np.uint8).reshape(2, 3)))
        mapped = file.map()
    assert mapped.tobytes() == b"0123456789"  # also after the block
    assert not mapped.flags.writeable
    with Spool(0) as file:
        assert file.map().shape == (0,)


def test_nothing_is_left_behind_even_where_the_block_raises(folder):
    def fail() -> None:
        with Spool(1000) as file:
            file.write(0, bytes(1000))
            assert not list(folder.iterdir())  # it has no name
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not list(folder.iterdir())


def test_images_of_many_threads_do_not_mix():
    images = np.random.default_rng(0).integers(0, 256, (200, 5, 4, 3), dtype=np.uint8)
    with ImageSpool(200, (5, 4, 3)) as file:

        def write(first: int) -> None:
            for index in range(first, 200, 8):
                file.write(index, images[index].transpose(1, 0, 2).transpose(1, 0, 2))

        threads = [threading.Thread(target=write, args=(first,)) for first in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        np.testing.assert_array_equal(file.map(), images)


def test_folder_that_cannot_be_written_is_named(one_line, monkeypatch, folder):
    def fail(**_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(spool.tempfile, "TemporaryFile", fail)
    with pytest.raises(NoRoomError) as caught:
        Spool(3)
    assert one_line(caught.value) == (
        f"a temporary file in {folder} could not be written: Permission denied; free disk "
        "space or fix the permissions there"
    )
