"""What a run consists of: settings, metrics, predictions and curves, read from its files."""

import contextlib
import dataclasses
import functools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import ValidationError

from vit_hk.compare.sources import (
    CORRUPTIONS,
    DATASET,
    FAITHFULNESS,
    HISTORY,
    METRICS,
    PARAMS,
    PREDICTIONS,
    TIMING,
    WEIGHTS,
    RunFiles,
)
from vit_hk.data.dataset import Dataset, load_dataset
from vit_hk.errors import UserError
from vit_hk.params import Config, read_tree
from vit_hk.report.history import read_history
from vit_hk.report.reading import read_json, read_table, user_error_if_damaged
from vit_hk.report.settings import flatten, format_value
from vit_hk.report.speed import Timing
from vit_hk.timing import read_timing
from vit_hk.weights_metadata import weights_digest


@dataclasses.dataclass(frozen=True)
class Run:
    """A run, read from its files.

    Attributes:
      files: where its files lie.
      settings: the values of params.yaml as text, by dotted key.
      data: name and source of the data set.
      metrics: the numbers of metrics.json, by dotted key.
      predictions: a row for each test image: index, actual, predicted, probability.
      standard_errors: those of faithfulness scores and of accuracies on corrupted images, by the
        dotted key of the metric, as far as they are known.
      history: a row for each epoch; None where it is missing.
      timing: what was measured with the weights of the run; empty where they are missing.
    """

    files: RunFiles
    settings: dict[str, str]
    data: str
    metrics: dict[str, float]
    predictions: pd.DataFrame
    standard_errors: dict[str, float]
    history: pd.DataFrame | None
    timing: Timing

    @functools.cached_property
    def dataset(self) -> Dataset | None:
        """The data set, read when it is first asked for; None where the run lacks it.

        Raises:
          UserError: it is damaged.
        """
        path = self.files.find(DATASET)
        if path is None:
            return None
        with named_errors(self.files):
            return load_dataset(path)


def read_run(files: RunFiles) -> Run:
    """Read the settings, metrics, predictions and curves of a run.

    Raises:
      UserError: a file is damaged.
    """
    with named_errors(files):
        metrics = _read_tree(files.folder / METRICS)
        data = f"{metrics.get('data', 'unnamed')} ({metrics.get('source', 'unknown source')})"
        history = files.find(HISTORY)
        return Run(
            files,
            _read_settings(files.folder / PARAMS),
            data.encode("utf-8", "backslashreplace").decode(),  # JSON may hold half a character
            _read_numbers(files.folder / METRICS, metrics),
            _read_predictions(files.folder / PREDICTIONS),
            _read_errors(files.find(FAITHFULNESS), "faithfulness", "method", "score_error")
            | _read_errors(files.find(CORRUPTIONS), "corruptions", "corruption", "mean_error"),
            read_history(history, None) if history else None,
            _read_timing(files),
        )


@contextlib.contextmanager
def named_errors(files: RunFiles) -> Iterator[None]:
    """Put the name of the run before the message of a UserError, and paths as the run has them."""
    try:
        yield
    except UserError as error:
        text = str(error).replace(f"{files.folder}/", "")
        raise UserError(f"{files.name}: {text}") from None


def _read_tree(path: Path) -> dict[str, Any]:
    tree = read_json(path, "evaluate")
    if not isinstance(tree, dict):
        raise UserError(f"{path} is no table of metrics; make it again with: dvc repro evaluate")
    return tree


def _read_settings(path: Path) -> dict[str, str]:
    tree = read_tree(path)
    if not isinstance(tree, dict):
        raise UserError(f"{path} holds no settings; a run's own params.yaml is needed")
    with contextlib.suppress(ValidationError):  # raised by settings of another version
        tree = Config.model_validate(tree).model_dump()  # 1 and 1.0 are one learning rate
    return {key: format_value(value) for key, value in flatten(tree).items()}


def _read_numbers(path: Path, tree: dict[str, Any]) -> dict[str, float]:
    """Return the finite numbers of metrics; those that standard errors come from are checked."""
    with user_error_if_damaged(path, "evaluate"):
        numbers = {key: value for key, value in flatten(tree).items() if _is_finite(value)}
        for key, value in numbers.items():
            if key.endswith(".accuracy") and not 0 <= value <= 1:
                raise ValueError(f"{key} is {value}; allowed: 0 to 1")
            if key.endswith(".examples") and value < 1:
                raise ValueError(f"{key} is {value}; allowed: 1 or more")
        return numbers


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _read_predictions(path: Path) -> pd.DataFrame:
    return read_table(path, "evaluate", ["actual", "predicted"], ["index", "probability"])


def _read_timing(files: RunFiles) -> Timing:
    weights = files.find(WEIGHTS)
    return read_timing(files.folder / TIMING, weights_digest(weights)) if weights else {}


def _read_errors(path: Path | None, section: str, kind: str, column: str) -> dict[str, float]:
    """Read the standard errors of a section of the metrics.

    Args:
      path: a table in which all rows of a metric have the same error; None where it is missing.
      section: the section of metrics.json.
      kind: the column that has the name of the metric in that section.
      column: the column of the errors.
    """
    if path is None:
        return {}
    table = read_table(path, "evaluate", [kind], [])
    if column not in table:
        return {}
    errors = pd.to_numeric(table[column], errors="coerce")
    first = errors.groupby(table[kind]).first()
    return {f"{section}.{name}": float(error) for name, error in first.items() if error > 0}
