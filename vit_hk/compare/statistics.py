"""How large the noise of a difference between two runs is.

The noise meant is that of the choice of test images: other images of the same kind would give
other numbers. What another seed would change, only further trainings can tell.
"""

import dataclasses
import math

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from vit_hk.metrics import balanced_accuracy_and_macro_f1, calibration_error

LEVEL = 0.05  # probability below which a difference is called more than noise
Z = 1.96  # standard errors that a difference exceeds with this probability
NUM_RESAMPLES = 400  # the standard error is then exact to about 4 %


@dataclasses.dataclass(frozen=True)
class Pairs:
    """How two runs classify the same test images: numbers of images.

    Attributes:
      both: classified correctly by both runs.
      only_a: by the first run only.
      only_b: by the second run only.
      neither: by none.
    """

    both: int
    only_a: int
    only_b: int
    neither: int

    @property
    def num_images(self) -> int:
        """The number of test images."""
        return self.both + self.only_a + self.only_b + self.neither

    @property
    def probability(self) -> float:
        """Probability of a split as uneven as this one, or more so, if both runs were equally good.

        Each image that only one run classifies correctly is then as likely one of A as one of B
        (McNemar, Note on the sampling error of the difference between correlated proportions,
        1947; here the exact, two-sided test).
        """
        discordant = self.only_a + self.only_b
        return float(binomtest(self.only_a, discordant).pvalue) if discordant else 1.0

    @property
    def standard_error(self) -> float:
        """Standard error of the difference of both accuracies."""
        difference = (self.only_b - self.only_a) / self.num_images
        discordant = (self.only_a + self.only_b) / self.num_images
        return math.sqrt(max(0.0, discordant - difference**2) / self.num_images)


def count_pairs(right_a: np.ndarray, right_b: np.ndarray) -> Pairs:
    """Count how two runs classify the same images; bool [N], whether each is correct."""
    return Pairs(
        int((right_a & right_b).sum()),
        int((right_a & ~right_b).sum()),
        int((~right_a & right_b).sum()),
        int((~right_a & ~right_b).sum()),
    )


def resampled_errors(a: pd.DataFrame, b: pd.DataFrame) -> dict[str, float]:
    """Return the standard errors of differences that have no formula, by resampling the images.

    The same images are drawn with replacement for both runs, again and again, and the standard
    deviation of the differences is taken (Efron, Bootstrap methods, 1979). The draws are the same
    in each run of the program.

    Args:
      a: predictions of the first run, a row for each test image.
      b: those of the second run for the same images.

    Returns:
      The standard errors of balanced_accuracy, macro_f1 and calibration_error.
    """
    names = sorted({*a["actual"], *a["predicted"], *b["predicted"]})
    numbers = {name: number for number, name in enumerate(names)}
    labels = a["actual"].map(numbers).to_numpy()
    runs = [(t["predicted"].map(numbers).to_numpy(), t["probability"].to_numpy()) for t in (a, b)]
    random = np.random.default_rng(0)
    differences = []
    for _ in range(NUM_RESAMPLES):
        drawn = random.integers(0, len(labels), len(labels))
        first, second = (
            _summary(labels[drawn], classes[drawn], confidence[drawn], len(names))
            for classes, confidence in runs
        )
        differences.append(second - first)
    deviations = np.std(differences, axis=0, ddof=1)
    keys = ("balanced_accuracy", "macro_f1", "calibration_error")
    return dict(zip(keys, deviations.tolist(), strict=True))


def _summary(
    labels: np.ndarray, classes: np.ndarray, confidence: np.ndarray, num_classes: int
) -> np.ndarray:
    # The calibration error needs to know only whether the most probable class is the true one.
    wrong = (labels != classes).astype(int)
    error = calibration_error(confidence[:, None], wrong)
    return np.array([*balanced_accuracy_and_macro_f1(labels, classes, num_classes), error])


def unpaired_error(share_a: float, count_a: float, share_b: float, count_b: float) -> float:
    """Return the standard error of the difference of two shares of different images."""
    return math.sqrt(share_a * (1 - share_a) / count_a + share_b * (1 - share_b) / count_b)
