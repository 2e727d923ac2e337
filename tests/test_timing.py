import json

import pytest

from vit_hk.timing import record_timing


def test_each_stage_replaces_only_its_own_measurements(tmp_path):
    path = tmp_path / "results" / "timing.json"
    record_timing(path, "train", {"seconds": 12.3456, "images_per_second": 1000.0})
    record_timing(path, "evaluate", {"seconds": 1.0})
    record_timing(path, "train", {"seconds": 2.0})
    assert json.loads(path.read_text()) == {"evaluate": {"seconds": 1.0}, "train": {"seconds": 2.0}}


def test_measurements_are_rounded_to_thousandths(tmp_path):
    record_timing(tmp_path / "timing.json", "train", {"seconds": 12.34567})
    assert json.loads((tmp_path / "timing.json").read_text()) == {"train": {"seconds": 12.346}}


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"3", b"null", b"\xff"])
def test_damaged_file_is_replaced(tmp_path, content):
    path = tmp_path / "timing.json"
    path.write_bytes(content)
    record_timing(path, "train", {"seconds": 2.0})
    assert json.loads(path.read_text()) == {"train": {"seconds": 2.0}}
