"""Times and rates of a run, in words."""

from typing import NamedTuple

Timing = dict[str, dict[str, float]]  # stage -> name -> seconds or images per second


class Measurement(NamedTuple):
    """A time or a rate: its name, its value with its unit or None, and what it is of."""

    name: str
    value: str | None
    meaning: str


def list_measurements(timing: Timing) -> list[Measurement]:
    """Put what `vit_hk.timing.read_timing` returns into words; what it lacks has no value."""
    train, evaluate = timing.get("train", {}), timing.get("evaluate", {})
    seconds = _format(train.get("train_seconds"), "{:,.1f} s")
    trained, evaluated = (
        _format(stage.get("images_per_second"), "{:,.0f} images/s") for stage in (train, evaluate)
    )
    return [
        Measurement("Training time", seconds, "with validation, without compilation"),
        Measurement("Training speed", trained, "of the training steps alone"),
        Measurement("Evaluation speed", evaluated, "classification of the test images"),
    ]


def _format(value: float | None, text: str) -> str | None:
    return None if value is None else text.format(value)
