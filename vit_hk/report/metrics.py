"""results/metrics.json as the report shows it."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vit_hk.report.reading import read_json, readable

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(ge=0)]


class Summary(BaseModel):
    """Of one split; see `evaluation.summarize`."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    accuracy: Share
    loss: float
    examples: Count


class TestSummary(Summary):
    """Of the test images."""

    error_count: Count
    calibration_error: Share


class Metrics(BaseModel):
    """Headline figures; `faithfulness` has a score for each order of patches."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    test: TestSummary
    validation: Summary
    faithfulness: dict[str, float]


def read_metrics(path: Path) -> Metrics:
    """Read and check the file.

    Raises:
      UserError: it is missing or damaged, or lacks a figure.
    """
    tree = read_json(path, "evaluate")
    with readable(path, "evaluate"):
        try:
            return Metrics.model_validate(tree)
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]
            key = ".".join(str(part) for part in problem["loc"])
            raise ValueError(f"{key or 'all of it'}: {problem['msg']}") from None
