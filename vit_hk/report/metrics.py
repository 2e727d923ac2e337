"""The metrics of the stage `evaluate` that the page shows."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vit_hk.report.reading import read_json, user_error_if_damaged

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(ge=0)]


class Summary(BaseModel):
    """The metrics of one split, as `vit_hk.metrics.summarize` computes them."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    accuracy: Share
    loss: float
    examples: Count


class TestSummary(Summary):
    """The metrics of the test images."""

    error_count: Count
    balanced_accuracy: Share
    macro_f1: Share
    calibration_error: Share


class TemperatureScaled(BaseModel):
    """The metrics of the test images after their logits are divided by the temperature."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    temperature: Annotated[float, Field(gt=0.0)]
    loss: float
    calibration_error: Share


class Metrics(BaseModel):
    """The metrics of a run.

    Attributes:
      test, validation: of these images.
      temperature_scaled: of the test images, with the temperature that `train` has fitted.
      faithfulness: the score of each order of patches.
    """

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    test: TestSummary
    validation: Summary
    temperature_scaled: TemperatureScaled
    faithfulness: dict[str, float]


def read_metrics(path: Path) -> Metrics:
    """Read the metrics and check that none is missing or out of range.

    Raises:
      UserError: the file is missing or damaged, or lacks a metric.
    """
    tree = read_json(path, "evaluate")
    with user_error_if_damaged(path, "evaluate"):
        try:
            return Metrics.model_validate(tree)
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]
            key = ".".join(str(part) for part in problem["loc"])
            raise ValueError(f"{key or 'the whole file'}: {problem['msg']}") from None
