"""Full disks and read-only folders: the existing file stays, and no half of a new one is left."""

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from small_disk import disk_of

from vit_hk.atomic import check_writable, replacing
from vit_hk.data.dataset import save_dataset
from vit_hk.errors import UserError
from vit_hk.figures.saving import save_figure
from vit_hk.params import ModelSettings
from vit_hk.timing import record_timing
from vit_hk.weights import save_weights
from vit_hk.weights_metadata import WeightsInfo

NOISE = np.random.default_rng(0).random((100, 100)).astype(np.float32)
INFO = WeightsInfo(
    preparation=None, model=ModelSettings(
        patch_size=2, stem="linear", hidden_size=4, num_layers=1, num_heads=1, mlp_dim=2,
        pool="cls", position="learned", dropout=0.0, drop_path=0.0, qk_norm=False, registers=0,
        gelu="erf", norm_eps=1e-6,
    ),
    data="mnist", source="made for a test", class_names=["a", "b"], image_shape=[4, 4, 1],
    mean=[0.1], std=[0.2], seed=5, validation_fraction=0.1,
)  # fmt: skip


def write_text(path: Path) -> None:
    with replacing(path) as temporary:
        temporary.write_text("x" * 100_000)


def write_table(path: Path) -> None:
    with replacing(path) as temporary:
        pd.DataFrame({"a": range(50_000)}).to_csv(temporary)


def write_arrays(path: Path) -> None:
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, a=NOISE)


def write_figure(path: Path) -> None:
    figure = Figure()
    figure.figimage(NOISE)
    save_figure(figure, path)


@pytest.mark.parametrize("size", [0, 4096])
@pytest.mark.parametrize(
    "name", ["metrics.json", "table.csv", "attention.npz", "dataset.npz", "weights", "figure.png"]
)
def test_full_disk_is_reported_in_one_line_and_keeps_the_old_file(
    tmp_path, tiny_dataset, one_line, name, size
):
    write: dict[str, Callable[[Path], None]] = {
        "metrics.json": write_text,
        "table.csv": write_table,
        "attention.npz": write_arrays,
        "dataset.npz": lambda path: save_dataset(tiny_dataset, path),
        "weights": lambda path: save_weights(path, {"vit": {"w": NOISE}}, INFO),
        "figure.png": write_figure,
    }
    target = tmp_path / name
    target.write_text("old")
    with disk_of(size), pytest.raises(UserError) as caught:
        write[name](target)
    assert one_line(caught.value) == (
        f"{target} could not be written: File too large; "
        "free disk space or fix the permissions there"
    )
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]
    # With free space, the same call succeeds.
    write[name](target)
    assert target.stat().st_size > size


def test_full_disk_keeps_the_timing_of_other_stages(tmp_path):
    path = tmp_path / "timing.json"
    record_timing(path, "train", "aaa", {"seconds": 1.0})
    before = path.read_bytes()
    with disk_of(len(before)), pytest.raises(UserError):
        record_timing(path, "evaluate", "aaa", {"seconds": 2.0})
    assert path.read_bytes() == before


def holds_only_results(folder: Path) -> bool:
    return sorted(path.name for path in folder.rglob("*")) == ["results"]


@pytest.fixture
def results(tmp_path) -> Path:
    """Return a file in place of the folder of results, where the superuser is refused as well."""
    path = tmp_path / "results"
    path.write_text("")
    return path


def test_check_creates_nothing(tmp_path):
    check_writable(tmp_path / "results" / "attention" / "a.png", tmp_path / "metrics.json")
    assert list(tmp_path.iterdir()) == []


def test_check_keeps_an_existing_file(tmp_path):
    (tmp_path / "metrics.json").write_text("old")
    check_writable(tmp_path / "metrics.json")
    assert (tmp_path / "metrics.json").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_check_finds_a_file_in_place_of_a_folder(results, one_line):
    for target in (results / "metrics.json", results / "attention" / "a.png"):
        with pytest.raises(UserError) as caught:
            check_writable(target)
        assert one_line(caught.value).startswith(f"{target} could not be written: Not a directory")
    assert holds_only_results(results.parent)


def test_check_finds_a_folder_in_place_of_a_file(tmp_path, one_line):
    (tmp_path / "results").mkdir()
    with pytest.raises(UserError) as caught:
        check_writable(tmp_path / "results")
    assert "results could not be written: Is a directory" in one_line(caught.value)


def test_check_finds_a_broken_link(tmp_path, one_line):
    (tmp_path / "results").symlink_to(tmp_path / "gone")
    with pytest.raises(UserError) as caught:
        check_writable(tmp_path / "results" / "metrics.json")
    assert "could not be written: No such file or directory" in one_line(caught.value)


@pytest.fixture
def read_only() -> Iterator[Path]:
    """Return a read-only folder; if the superuser runs the test, it continues as another user."""
    with tempfile.TemporaryDirectory() as created:
        folder = Path(created)
        (folder / "metrics.json").write_text("old")
        folder.chmod(0o555)
        superuser = os.geteuid() == 0
        if superuser:
            os.seteuid(65534)
        try:
            yield folder
        finally:
            if superuser:
                os.seteuid(0)
            folder.chmod(0o755)


@pytest.mark.parametrize("name", ["metrics.json", "new.json", "deeper/new.json"])
def test_read_only_folder_gives_the_same_message_before_and_while_writing(
    read_only, one_line, name
):
    target = read_only / name
    with pytest.raises(UserError) as before:
        check_writable(target)
    with pytest.raises(UserError) as during:
        write_text(target)
    assert one_line(before.value) == one_line(during.value)
    assert (
        "could not be written: Permission denied; free disk space or fix the permissions there"
        in str(before.value)
    )
    assert (read_only / "metrics.json").read_text() == "old"
    assert len(list(read_only.iterdir())) == 1
