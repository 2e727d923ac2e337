import json

import pytest

from vit_hk.timing import read_timing, record_timing
from vit_hk.weights_metadata import weights_digest


def test_each_stage_replaces_only_its_own_measurements(tmp_path):
    path = tmp_path / "results" / "timing.json"
    record_timing(path, "train", "aaa", {"seconds": 12.3456, "images_per_second": 1000.0})
    record_timing(path, "evaluate", "aaa", {"seconds": 1.0})
    record_timing(path, "train", "bbb", {"seconds": 2.0})
    assert json.loads(path.read_text()) == {
        "evaluate": {"weights": "aaa", "seconds": 1.0},
        "train": {"weights": "bbb", "seconds": 2.0},
    }


def test_measurements_are_rounded_to_thousandths(tmp_path):
    record_timing(tmp_path / "timing.json", "train", "aaa", {"seconds": 12.34567})
    assert json.loads((tmp_path / "timing.json").read_text())["train"]["seconds"] == 12.346


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"3", b"null", b"\xff", b"[" * 100_000], ids=len
)
def test_damaged_file_is_replaced(tmp_path, content):
    path = tmp_path / "timing.json"
    path.write_bytes(content)
    assert read_timing(path, "aaa") == {}
    record_timing(path, "train", "aaa", {"seconds": 2.0})
    assert read_timing(path, "aaa") == {"train": {"seconds": 2.0}}


def test_only_measurements_with_the_same_weights_are_read(tmp_path):
    path = tmp_path / "timing.json"
    record_timing(path, "train", "aaa", {"seconds": 3.0, "images_per_second": 0.0})
    record_timing(path, "evaluate", "bbb", {"seconds": 4.0})
    assert read_timing(path, "aaa") == {"train": {"seconds": 3.0}}  # a rate of 0 is none
    assert read_timing(path, "bbb") == {"evaluate": {"seconds": 4.0}}
    tree = {"train": {"weights": "aaa", "seconds": True, "rate": "fast", "nan": float("nan")}}
    tree["train"]["huge"] = 10**400
    path.write_text(json.dumps({**tree, "evaluate": [1], "other": {"seconds": 1.0}}))
    assert read_timing(path, "aaa") == {"train": {}}


def test_digest_of_weights_is_the_start_of_their_sha_256(tmp_path):
    (tmp_path / "weights").write_bytes(b"abc")  # the example of FIPS 180-2
    assert weights_digest(tmp_path / "weights") == "ba7816bf8f01"
