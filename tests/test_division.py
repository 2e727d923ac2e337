import os
import subprocess
import sys

import jax
import pytest

import vit_hk.division
from vit_hk.division import divide_for_prediction, divide_for_step, usable_cores


@pytest.mark.parametrize(
    ("batch_size", "tokens", "expected"),
    [
        # Two devices, pieces each, images of one. 16 * 17 tokens are near 224, 8 * 17 are not.
        (64, 17, (2, 2, 16)),
        (128, 50, (2, 16, 4)),
        (6, 500, (2, 3, 1)),
        (10, 8, (2, 1, 5)),
        (10, 6, (1, 1, 10)),  # for two devices to share it, it is too little work
        (61, 17, (1, 1, 61)),  # a prime number cannot be divided
    ],
)
def test_a_step_takes_equal_pieces_that_make_up_its_batch(batch_size, tokens, expected):
    division = divide_for_step(batch_size, tokens)
    assert (division.mesh.size, division.pieces, division.piece) == expected
    assert division.images == batch_size


@pytest.mark.parametrize("batch_size", [1, 2, 7, 61, 500])
@pytest.mark.parametrize("tokens", [2, 17, 50, 500])
def test_a_prediction_has_room_for_its_batch_and_hardly_more(batch_size, tokens):
    division = divide_for_prediction(batch_size, tokens)
    room = division.images - batch_size
    assert 0 <= room < division.mesh.size * division.piece
    assert division.piece == 1 or division.piece * tokens <= 256


@pytest.mark.parametrize("divide", [divide_for_step, divide_for_prediction])
def test_a_gpu_takes_its_share_in_one_piece(monkeypatch, divide):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert divide(600, 50)[1:] == (1, 300)


COUNT = (
    "import jax; from vit_hk.device import select_device; select_device('cpu'); "
    "print(jax.device_count())"
)


def count_devices(project, **environment) -> int:
    others = {key: value for key, value in os.environ.items() if key != "JAX_NUM_CPU_DEVICES"}
    run = subprocess.run(
        [sys.executable, "-c", COUNT], cwd=project, env=others | environment,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return int(run.stdout)


def test_each_core_is_a_device(project):
    assert count_devices(project) == len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("quota", "cores"),
    [("max 100000", 8), ("200000 100000", 2), ("150000 100000", 2), ("1000 100000", 1), ("", 8)],
)
def test_a_container_may_have_fewer(monkeypatch, tmp_path, quota, cores):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr(vit_hk.division, "CPU_QUOTA", tmp_path / "cpu.max")
    assert usable_cores() == 8
    (tmp_path / "cpu.max").write_text(quota)
    assert usable_cores() == cores


def test_a_number_that_the_user_has_set_stays(project):
    assert count_devices(project, JAX_NUM_CPU_DEVICES="3") == 3
