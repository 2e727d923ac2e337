"""The settings and the metrics in which two runs differ."""

import math
from typing import NamedTuple

from vit_hk.compare.run import Run
from vit_hk.compare.statistics import LEVEL, Pairs, Z, resampled_errors, unpaired_error
from vit_hk.report.speed import list_measurements

NOISE, MORE, UNKNOWN = "could be noise", "more than noise", "not known"
ABSENT = "not set"


class SettingDifference(NamedTuple):
    """A key of params.yaml with its values in both runs."""

    key: str
    a: str
    b: str


class MetricDifference(NamedTuple):
    """A metric of both runs.

    Attributes:
      key: dotted name.
      a, b: its values.
      error: standard error of the difference b - a; None where it is not known.
      verdict: whether the difference is more than noise.
    """

    key: str
    a: float
    b: float
    error: float | None
    verdict: str


class SpeedDifference(NamedTuple):
    """A time or a rate of both runs: its name, its values with their units, and what it is of.

    A run with which it was not measured has no value.
    """

    name: str
    a: str | None
    b: str | None
    meaning: str


def compare_settings(a: Run, b: Run) -> list[SettingDifference]:
    """List the settings that differ, in the order of the first run's params.yaml."""
    keys = [*a.settings, *(key for key in b.settings if key not in a.settings)]
    values = [(key, a.settings.get(key, ABSENT), b.settings.get(key, ABSENT)) for key in keys]
    return [SettingDifference(*value) for value in values if value[1] != value[2]]


def compare_speeds(a: Run, b: Run) -> list[SpeedDifference]:
    """List the times and rates that at least one run has."""
    measured = zip(list_measurements(a.timing), list_measurements(b.timing), strict=True)
    rows = [
        SpeedDifference(of_a.name, of_a.value, of_b.value, of_a.meaning) for of_a, of_b in measured
    ]
    return [row for row in rows if row.a or row.b]


def have_same_images(a: Run, b: Run) -> bool:
    """Return whether the predictions of both runs are for the same test images.

    Name and source of the data set and the class of each image are compared.
    """
    columns = ["index", "actual"]
    return a.data == b.data and a.predictions[columns].equals(b.predictions[columns])


def compare_metrics(a: Run, b: Run, pairs: Pairs | None) -> list[MetricDifference]:
    """List the metrics that both runs have, with the noise of their differences.

    The mean over corruptions is left out where the runs have other ones.

    Args:
      a: the first run.
      b: the second run.
      pairs: how both classify the same test images; None where the images are others.
    """
    errors = _standard_errors(a, b, pairs)
    left_out = set() if _corruptions(a) == _corruptions(b) else {"corruptions.mean"}
    rows = []
    for key in a.metrics:
        if key not in b.metrics or key.endswith(".examples") or key in left_out:
            continue
        error = errors.get(key)
        by_pairs = pairs if key in ("test.accuracy", "test.error_count") else None
        difference = b.metrics[key] - a.metrics[key]
        verdict = judge(difference, error, by_pairs)
        rows.append(MetricDifference(key, a.metrics[key], b.metrics[key], error, verdict))
    return rows


def _corruptions(run: Run) -> set[str]:
    return {key for key in run.metrics if key.startswith("corruptions.")}


def judge(difference: float, error: float | None, pairs: Pairs | None) -> str:
    """Say whether a difference is more than noise.

    Args:
      difference: of the metric, B - A.
      error: its standard error; None where it is not known.
      pairs: how both runs classify the same images, where these decide instead (McNemar's test).
    """
    if difference == 0:
        return "no difference"
    if pairs:
        return MORE if pairs.probability < LEVEL else NOISE
    if not error:
        return UNKNOWN
    return MORE if abs(difference) > Z * error else NOISE


def _standard_errors(a: Run, b: Run, pairs: Pairs | None) -> dict[str, float]:
    """Return the standard error of each difference for which one can be told."""
    errors = {
        key: math.hypot(error, b.standard_errors[key])
        for key, error in a.standard_errors.items()
        if key in b.standard_errors
    }
    for split in ("test", "validation"):
        names = f"{split}.accuracy", f"{split}.examples"
        values = [run.metrics.get(name) for run in (a, b) for name in names]
        if None not in values:
            errors[names[0]] = unpaired_error(*values)  # type: ignore[arg-type]
    if pairs:
        errors["test.accuracy"] = pairs.standard_error
        errors["test.error_count"] = pairs.standard_error * pairs.num_images
        resampled = resampled_errors(a.predictions, b.predictions)
        errors |= {f"test.{name}": error for name, error in resampled.items()}
    return errors
