"""The panel of the calibration: how often predictions of each confidence are right."""

import dataclasses
import math

import numpy as np

from vit_hk.metrics import CALIBRATION_BINS, confidence_bins
from vit_hk.report.intervals import wilson_interval
from vit_hk.report.panels.panel import Panel
from vit_hk.report.panels.plot_area import PlotArea

AREA = PlotArea(left=58, right=384, top=12, bottom=242)
MIN_COUNT = 0.5  # where the logarithmic axis starts, so that one image has a bar


@dataclasses.dataclass(frozen=True)
class Bin:
    """The test images whose confidence lies in (low, high]; all but `count` are shares."""

    low: float
    high: float
    count: int
    confidence: float  # mean
    accuracy: float
    accuracy_low: float  # ends of the interval of 95 %
    accuracy_high: float


@dataclasses.dataclass(frozen=True)
class Reliability:
    """A reliability diagram and its histogram: see reliability.html."""

    bins: list[Bin]  # those that hold images
    calibration_error: float
    area: PlotArea
    num_bins: int  # with the empty ones
    decades: int  # the logarithmic axis of the histogram ends at 10 ** decades

    def log_share(self, count: float) -> float:
        """Return where a count lies on the logarithmic axis, from 0 to 1."""
        return math.log(count / MIN_COUNT) / math.log(10**self.decades / MIN_COUNT)


def reliability_panel(confidence: np.ndarray, correct: np.ndarray) -> Panel:
    """Make the panel of the reliability diagram (arXiv 1706.04599, section 2).

    Args:
      confidence: float [N], probability of the predicted class of each test image.
      correct: bool [N], whether the prediction is right.
    """
    bins = fill_bins(confidence, correct)
    error = sum(b.count * abs(b.accuracy - b.confidence) for b in bins) / len(confidence)
    decades = math.ceil(math.log10(max(10, *(b.count for b in bins))))
    data = Reliability(bins, error, AREA, CALIBRATION_BINS, decades)
    return Panel("reliability", "Can its probabilities be trusted?", data)


def fill_bins(confidence: np.ndarray, correct: np.ndarray) -> list[Bin]:
    """Return the bins that hold images, in their order; they are those of `calibration_error`."""
    numbers = confidence_bins(confidence)
    bins = []
    for number in np.unique(numbers).tolist():
        inside = numbers == number
        count, hits = int(inside.sum()), int(correct[inside].sum())
        low, high = wilson_interval(np.array(hits), np.array(count))
        bins.append(
            Bin(
                low=(number - 1) / CALIBRATION_BINS,
                high=number / CALIBRATION_BINS,
                count=count,
                confidence=float(confidence[inside].mean()),
                accuracy=hits / count,
                accuracy_low=float(low),
                accuracy_high=float(high),
            )
        )
    return bins
