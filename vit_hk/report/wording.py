"""Numbers as the pages write them, which rounding must not make wrong."""

MAX_DIGITS = 4  # of a percentage: metrics are stored with six digits of a share


def percent(share: float, digits: int = 2) -> str:
    """Return a share in %: "100.00 %" for all, and more digits where rounding would say so wrongly.

    Args:
      share: from 0 to 1.
      digits: after the decimal point, where they are enough.
    """
    return f"{_round(100 * share, digits, wrong=100)} %"


def points(difference: float) -> str:
    """Return the size of a difference of two shares in percentage points, which is not 0."""
    return _round(100 * abs(difference), 2, wrong=0)


def counted(count: int, noun: str) -> str:
    """Return a number of things in words: "1 mistake", "2,000 mistakes"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _round(value: float, digits: int, wrong: float) -> str:
    """Return a number with so many digits that it is not `wrong`, at most MAX_DIGITS of them."""
    texts = [f"{value:.{number}f}" for number in range(digits, MAX_DIGITS + 1)]
    return next((text for text in texts if float(text) != wrong), texts[0])
