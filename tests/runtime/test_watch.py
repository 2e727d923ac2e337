"""The watch over other processes; test_several_processes.py runs it in real ones."""

import itertools
import threading
import time
from types import SimpleNamespace

import pytest

from vit_hk.runtime import watch


class Client:
    """A key-value store in which both of two processes live, while it answers."""

    def __init__(self) -> None:
        self.answers = threading.Event()
        self.answers.set()
        self.numbers = itertools.count()

    def key_value_set(self, *_: object, **__: object) -> None:
        self.answers.wait()

    def key_value_dir_get(self, folder: str) -> list[tuple[str, str]]:
        number = str(next(self.numbers))
        return [(f"{folder}{index}", number) for index in range(2) if folder == watch.ALIVE]


@pytest.fixture
def clock(monkeypatch):
    """Set the clock of the watch forward; its threads wait for a fiftieth of a second."""
    ahead = SimpleNamespace(seconds=0.0)
    monotonic = time.monotonic
    clock = SimpleNamespace(monotonic=lambda: monotonic() + ahead.seconds, sleep=time.sleep)
    monkeypatch.setattr(watch, "time", clock)
    monkeypatch.setattr(watch, "PERIOD_SECONDS", 0.02)
    return ahead


def test_after_a_suspension_the_others_have_time_to_answer(clock, monkeypatch):
    ended, client = threading.Event(), Client()
    monkeypatch.setattr(watch, "os", SimpleNamespace(_exit=lambda _: ended.set()))
    watched = watch.Watch(client, 1, 2)
    time.sleep(0.1)
    client.answers.clear()
    clock.seconds += 100  # all are suspended; then this thread is the first that runs
    assert not ended.wait(0.2)
    client.answers.set()
    assert not ended.wait(0.2)
    client.answers.clear()  # process 0 is gone
    for _ in range(20):
        clock.seconds += 1
        time.sleep(0.03)
    assert ended.is_set()
    watched.is_over.set()
    client.answers.set()


class Store:
    """A key-value store that several watches share."""

    def __init__(self) -> None:
        self.content: dict[str, str] = {}

    def key_value_set(self, key: str, value: str, **_: object) -> None:
        self.content[key] = value

    def key_value_dir_get(self, folder: str) -> list[tuple[str, str]]:
        return [item for item in list(self.content.items()) if item[0].startswith(folder)]


@pytest.mark.usefixtures("clock")
def test_the_failure_of_a_process_ends_the_others_which_name_it(monkeypatch, capsys):
    ended, store = threading.Event(), Store()
    monkeypatch.setattr(watch, "os", SimpleNamespace(_exit=lambda code: code == 1 and ended.set()))
    failing, other = (watch.Watch(store, index, 2) for index in range(2))
    assert not ended.wait(0.1)
    failing.report_failure(ValueError("of any kind"))
    assert ended.wait(10)
    other.is_over.set()
    assert (
        "error: of 2 processes, process 0 has failed, as its output says; the last checkpoint"
        in capsys.readouterr().err
    )
