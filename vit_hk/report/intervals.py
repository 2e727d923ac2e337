"""Confidence intervals of 95 % for shares of the test images."""

import numpy as np

Z = 1.959964  # the 97.5 % quantile of the normal distribution


def wilson_interval(hits: np.ndarray, totals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return Wilson's score interval of shares (Wilson 1927; Brown, Cai and DasGupta 2001, eq. 4).

    Unlike the interval of a normal distribution it stays between 0 and 1, and where all or none of
    the images are hits it is no single point.

    Args:
      hits: int [...], at most `totals`.
      totals: int [...].

    Returns:
      The lower and the upper ends, float64 [...]; 0 and 1 where a total is 0.
    """
    n = np.maximum(totals, 1)
    share = hits / n
    center = share + Z**2 / (2 * n)
    spread = Z * np.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    scale = 1 + Z**2 / n
    # Rounding would end an interval just beside 0 or 1.
    low = np.where(hits == 0, 0.0, (center - spread) / scale)
    high = np.where(hits == totals, 1.0, (center + spread) / scale)
    return low, high


def f1_interval(
    hits: np.ndarray, predicted: np.ndarray, support: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return an interval of F1, from Wilson's interval of the Jaccard index J.

    J = hits / (predicted + support - hits) is the share of hits among the images that are of a
    class or predicted as it, and F1 = 2 J / (1 + J) rises with J, so that both ends of the interval
    of J become those of F1.

    Args:
      hits: int [C], images of the class that are predicted as it.
      predicted: int [C], images that are predicted as the class.
      support: int [C], images of the class.

    Returns:
      The lower and the upper ends, float64 [C].
    """
    low, high = wilson_interval(hits, predicted + support - hits)
    return 2 * low / (1 + low), 2 * high / (1 + high)
