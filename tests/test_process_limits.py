import os

import pytest

from vit_hk import process_limits
from vit_hk.process_limits import usable_cores


@pytest.mark.parametrize(
    ("quota", "cores"),
    [
        (None, 8),
        ("max 100000", 8),
        ("200000 100000", 2),
        ("150000 100000", 2),
        ("1000 100000", 1),
        ("9000000 100000", 8),
        ("", 8),
    ],
)
@pytest.mark.parametrize("group", ["", "user.slice/job"], ids=["container", "scope"])
def test_quota_of_a_control_group_limits_the_usable_cores(
    monkeypatch, tmp_path, quota, cores, group
):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr(process_limits, "CGROUPS", tmp_path)
    monkeypatch.setattr(process_limits, "OWN_CGROUP", tmp_path / "own")
    (tmp_path / "own").write_text(f"0::/{group}\n")
    (tmp_path / group).mkdir(parents=True, exist_ok=True)
    if quota is not None:
        (tmp_path / group / "cpu.max").write_text(quota)
    assert usable_cores() == cores
    if group:  # the quota of a group around it counts too
        (tmp_path / "cpu.max").write_text("300000 100000")
        assert usable_cores() == min(3, cores)
