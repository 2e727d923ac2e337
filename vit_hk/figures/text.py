"""Text that fits into its place in a figure: measured, broken into lines, or shortened.

Class names come from a person's data, so they may have any length and any script. All widths are
measured with the fonts and the resolution that `save_figure` draws with.
"""

import functools
import re
import unicodedata
from bisect import bisect_left
from collections.abc import Callable, Sequence

from matplotlib import rcParams
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.font_manager import FontProperties

from vit_hk.figures.saving import DPI

POINTS_PER_INCH = 72
LINE_SPACING = 1.3  # from line to line, in units of the font size

_RENDERER = RendererAgg(1, 1, DPI)
# A line may end after spaces, hyphens, underscores and slashes, but not inside of "98 %".
_BREAKS = re.compile(r"(?<=[ \-_/])(?=[^ \-_/%])")
# They keep a right-to-left name from reordering the text around it (FSI and PDI of Unicode).
_ISOLATE, _END_ISOLATE = "\u2068", "\u2069"
# Bidirectional classes of right-to-left letters, and of characters that change the direction.
_DIRECTIONS = {"R", "AL", "RLE", "RLO", "RLI", "LRE", "LRO", "LRI", "FSI"}


def text_width(text: str, font_size: float) -> float:
    """Return the width of one line of text in inches.

    Args:
      text: the line.
      font_size: in points.
    """
    return _width_in_fonts(text, font_size, tuple(rcParams["font.family"]))


@functools.lru_cache(maxsize=10_000)  # to find where a line breaks, parts of it are measured often
def _width_in_fonts(text: str, font_size: float, _: tuple[str, ...]) -> float:
    """Return the width of text in inches, with the font families that are chosen now."""
    return measure(text, font_size)


def measure(text: str, font_size: float) -> float:
    """Return the width of text in inches; matplotlib warns of letters that no chosen font has."""
    font = FontProperties(size=font_size)
    width, _, _ = _RENDERER.get_text_width_height_descent(text, font, False)
    return width / DPI


def lines_height(count: int, font_size: float) -> float:
    """Return the height of `count` lines of text in inches."""
    return count * LINE_SPACING * font_size / POINTS_PER_INCH


def extra_height(rows: Sequence[Sequence[str]], usual_lines: int, font_size: float) -> float:
    """Return the inches that rows of titles need beyond `usual_lines` lines in each row."""
    lines = [max(title.count("\n") + 1 for title in row) for row in rows]
    return lines_height(sum(max(0, count - usual_lines) for count in lines), font_size)


def fit_line(text: str, max_inches: float, font_size: float) -> str:
    """Shorten a text with an ellipsis so that one line of `max_inches` holds it."""
    if text_width(text, font_size) <= max_inches:
        return text
    length = _max_length(
        text, lambda length: text_width(_shorten(text, length), font_size) <= max_inches
    )
    return _shorten(text, length)


def wrap(text: str, max_inches: float, font_size: float) -> str:
    """Break the lines of a text so that none is wider than `max_inches`.

    Lines break between words. Only a word that is wider than a line, as in scripts without spaces,
    breaks between any two letters.
    """
    lines = []
    for line in text.split("\n"):
        lines += _break_line(line, max_inches, font_size)
    return "\n".join(_isolate_each(lines))


def fit_name(template: str, name: str, max_inches: float, font_size: float, max_lines: int) -> str:
    """Put a name into a text and break its lines; shorten the name if there are too many lines.

    Args:
      template: the text, with {} for the name, as in `str.format`.
      name: what to fill in, always literally.
      max_inches: maximum width of a line.
      font_size: in points.
      max_lines: maximum number of lines.
    """

    def lay_out(max_length: int) -> str:
        shown = _isolate(_shorten(name, max_length))
        return wrap(template.format(shown), max_inches, font_size)

    text = lay_out(len(name))
    if text.count("\n") < max_lines:
        return text
    return lay_out(_max_length(name, lambda length: lay_out(length).count("\n") < max_lines))


def fit_clauses(
    clauses: Sequence[tuple[str, str]], max_inches: float, font_size: float, max_lines: int
) -> str:
    """Put names into clauses: all in one line, or where that is too narrow, each in its own.

    Args:
      clauses: pairs of a template and a name, as for `fit_name`.
      max_inches: maximum width of a line.
      font_size: in points.
      max_lines: maximum number of lines of each clause, unless all are in one.
    """
    text = " ".join(template.format(_isolate(name)) for template, name in clauses)
    if text_width(text, font_size) <= max_inches:
        return text
    return "\n".join(
        fit_name(template, name, max_inches, font_size, max_lines) for template, name in clauses
    )


def _max_length(text: str, fits: Callable[[int], bool]) -> int:
    """Return the maximum length, 1 or more, to which a text must be cut so that it fits."""
    return max(1, bisect_left(range(1, len(text)), True, key=lambda length: not fits(length)))


def _shorten(text: str, max_length: int) -> str:
    """Cut a text to at most `max_length` characters, the last of which is then an ellipsis."""
    if len(text) <= max_length:
        return text
    return f"{text[: _cut_position(text, max_length - 1)].rstrip()}…"


def _cut_position(text: str, position: int) -> int:
    """Move a position in a text to the left until it does not part a letter from its marks."""
    while position > 1 and unicodedata.category(text[position]) in ("Mn", "Mc", "Me", "Cf"):
        position -= 1
    return position


def _break_line(line: str, max_inches: float, font_size: float) -> list[str]:
    if text_width(line, font_size) <= max_inches:
        return [line]
    lines = [""]
    for part in _BREAKS.split(line):
        if text_width((lines[-1] + part).rstrip(), font_size) <= max_inches:
            lines[-1] += part
        elif text_width(part.rstrip(), font_size) <= max_inches:
            lines.append(part)
        else:
            lines[-1:] = _break_word(lines[-1] + part, max_inches, font_size)
    return [text.rstrip() for text in lines if text.strip()]


def _break_word(text: str, max_inches: float, font_size: float) -> list[str]:
    """Break a text between any two letters, with as many letters in a line as fit."""
    lines = []
    while text:
        length = _length_of_line(text, max_inches, font_size)
        lines.append(text[:length])
        text = text[length:]
    return lines


def _length_of_line(text: str, max_inches: float, font_size: float) -> int:
    """Return how many characters of a text fit into a line, at least 1."""
    if text_width(text, font_size) <= max_inches:
        return len(text)
    length = _max_length(text, lambda length: text_width(text[:length], font_size) <= max_inches)
    return _cut_position(text, min(length, len(text) - 1)) if len(text) > 1 else 1


def _isolate(name: str) -> str:
    """Isolate a name with right-to-left letters, so that a number after it stays after it."""
    if any(unicodedata.bidirectional(letter) in _DIRECTIONS for letter in name):
        return f"{_ISOLATE}{name}{_END_ISOLATE}"
    return name


def _isolate_each(lines: list[str]) -> list[str]:
    """Isolate each part of an isolated name that several lines hold: lines are laid out alone."""
    isolated, is_open = [], False
    for line in lines:
        line = _ISOLATE + line if is_open else line
        is_open = line.count(_ISOLATE) > line.count(_END_ISOLATE)
        isolated.append(line + _END_ISOLATE if is_open else line)
    return isolated
