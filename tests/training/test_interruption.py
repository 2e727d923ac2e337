import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import TextIO

import pytest

from vit_hk.training.interruption import StopRequest, ignore_signals
from vit_hk.training.output import print_line


def wait_until(condition) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_first_signal_sets_the_request(number, code, capfd):
    with StopRequest() as stop:
        assert not stop.is_set()
        os.kill(os.getpid(), number)
        wait_until(stop.is_set)
    assert stop.exit_code == code
    assert "once more stops at once" in capfd.readouterr().err


@pytest.fixture
def handlers() -> Iterator[None]:
    former = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in former.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
def test_a_signal_that_the_parent_ignores_stops_the_training():
    # A script starts commands in the background with SIGINT ignored, by which DVC stops a queue.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        wait_until(stop.is_set)


@pytest.mark.usefixtures("handlers")
def test_signals_after_the_last_write_do_not_end_the_process():
    ignore_signals()
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGTERM)


def test_a_stop_that_another_process_requested_is_no_signal_of_this_one(monkeypatch, capfd):
    monkeypatch.setattr(
        "vit_hk.training.interruption.max_over_processes", lambda _: signal.SIGTERM.value
    )
    with StopRequest() as stop:
        assert stop.is_set()
        os.kill(os.getpid(), signal.SIGTERM)  # its first: it would end this process if it were not
        printed = []
        wait_until(
            lambda: printed.append(capfd.readouterr().err) or "once more" in "".join(printed)
        )
    assert stop.exit_code == 143


@pytest.fixture
def unread() -> Iterator[TextIO]:
    """Return an output as of `dvc repro 2>&1 | tee log` after Ctrl-C, which ends `tee` too."""
    reader, writer = os.pipe()
    os.close(reader)
    output = os.fdopen(writer, "w")
    yield output
    with contextlib.suppress(BrokenPipeError):
        output.close()


def test_second_signal_is_received_where_nobody_reads_the_output(monkeypatch, unread):
    ended = []
    monkeypatch.setattr("sys.stderr", unread)
    monkeypatch.setattr("os._exit", ended.append)
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        wait_until(stop.is_set)
        os.kill(os.getpid(), signal.SIGINT)
        wait_until(lambda: ended)
    assert ended == [130]


def test_lines_are_dropped_where_nobody_reads_them(unread):
    for _ in range(2):
        print_line("epoch   1/2", unread)
    unread.close()  # as Python does at its end; the exit code would be 120 if it failed


def test_former_signal_handlers_are_restored():
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with StopRequest():
        pass
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before
    assert signal.set_wakeup_fd(-1) == -1


# A compiled loop of minutes is one instruction of Python, which runs no signal handler meanwhile.
COMPILED_LOOP = """
import jax
from vit_hk.training.interruption import StopRequest
with StopRequest() as stop:
    loop = jax.jit(lambda: jax.lax.fori_loop(0, 2**31 - 1, lambda i, x: x * 1.0001 + i, 1.0))
    print("ready", flush=True)
    loop().block_until_ready()
"""


def test_second_signal_ends_a_compiled_loop_at_once(project):
    process = subprocess.Popen(
        [sys.executable, "-c", COMPILED_LOOP], cwd=project, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout.readline() == "ready\n"
    time.sleep(1)  # until the loop is compiled and runs
    process.send_signal(signal.SIGTERM)
    # Wait for the line that confirms the first signal.
    while "once more stops at once" not in process.stderr.readline():
        assert process.poll() is None
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(5) == 143
