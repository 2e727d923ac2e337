import os
import subprocess
import sys

import jax
import pytest

from vit_hk.device import select_device
from vit_hk.errors import UserError


class Device:
    def __init__(self, platform: str) -> None:
        self.platform = platform


@pytest.mark.parametrize("platform", ["auto", "gpu"])
def test_gpu_is_taken_where_there_is_one(monkeypatch, platform):
    devices = [Device("gpu"), Device("gpu")]
    monkeypatch.setattr(jax, "devices", lambda: devices)
    assert select_device(platform) is devices[0]


def test_auto_takes_the_cpu_where_there_is_no_gpu(monkeypatch):
    device = Device("cpu")
    monkeypatch.setattr(jax, "devices", lambda: [device])
    assert select_device("auto") is device


def test_missing_gpu_says_what_to_do(monkeypatch, one_line):
    monkeypatch.setattr(jax, "devices", lambda: [Device("cpu")])
    with pytest.raises(UserError) as caught:
        select_device("gpu")
    message = one_line(caught.value)
    assert "train.platform is gpu, but JAX sees only cpu" in message
    assert "pip install -r requirements-gpu.txt" in message


def test_cpu_is_taken_even_where_jax_is_told_otherwise(project):
    code = "from vit_hk.device import select_device; print(select_device('cpu').platform)"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=project, env=os.environ | {"JAX_PLATFORMS": "cuda"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert run.stdout == "cpu\n"


@pytest.mark.parametrize("failure", [RuntimeError, AssertionError])
def test_jax_without_any_device_ends_in_one_line(monkeypatch, one_line, failure):
    # What jax.devices() raises, depending on what JAX_PLATFORMS names.
    def fail() -> None:
        raise failure("Unable to initialize\nbackend")

    monkeypatch.setattr(jax, "devices", fail)
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    with pytest.raises(UserError) as caught:
        select_device("auto")
    assert "JAX_PLATFORMS is 'cuda'; unset it" in one_line(caught.value)
