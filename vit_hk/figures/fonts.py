"""Fonts for class names in any script, chosen from those that the machine has."""

import contextlib
import sys
import unicodedata
import warnings
from collections.abc import Sequence

from matplotlib import rcParams
from matplotlib.font_manager import FontEntry, findSystemFonts, fontManager, weight_dict
from matplotlib.ft2font import FT2Font, LoadFlags

from vit_hk.errors import shorten
from vit_hk.figures.text import measure

DEFAULT_FAMILY = "sans-serif"  # DejaVu Sans, which comes with matplotlib
CJK = ("BOPOMOFO", "CJK", "FULLWIDTH", "HALFWIDTH", "HANGUL", "HIRAGANA", "KATAKANA")
REDRAW = "draw the figures again with: dvc repro --force --single-item attention report"


def choose_fonts(class_names: Sequence[str], redraw: str = REDRAW) -> list[str]:
    """Choose fonts that have the letters of class names; return the names as figures show them.

    The font that comes with matplotlib lacks many scripts. For the letters that it lacks, all later
    figures use other fonts of this machine: the same ones as long as the machine has the same. A
    name that no font can draw becomes "class 3", where 3 is its number, counted from 0 as in the
    labels, or "class 3*" where another class has that name. A warning on stderr names a package of
    fonts to install, and ends with `redraw`, which says what to do then.
    """
    rcParams["font.family"] = [DEFAULT_FAMILY]
    missing = {letter for letter in set("".join(class_names)) if not _can_draw(letter)}
    if not missing:
        return list(class_names)
    _add_new_fonts()
    rcParams["font.family"] = [DEFAULT_FAMILY, *_choose_families(missing)]
    lacking = [name for name in class_names if not missing.isdisjoint(name) and not _can_draw(name)]
    if lacking:
        _warn(class_names, lacking, redraw)
    numbered = set(lacking)
    return [
        _number(n, class_names) if name in numbered else name for n, name in enumerate(class_names)
    ]


def _number(number: int, taken: Sequence[str]) -> str:
    """Return the name of a class that stands for its own, and that no class has."""
    name = f"class {number}"
    while name in taken:
        name += "*"
    return name


def _can_draw(text: str) -> bool:
    """Return whether the chosen fonts have all letters; matplotlib warns where it draws a box."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        measure(text, 10)
    return not caught


def _add_new_fonts() -> None:
    """Add fonts that were installed after matplotlib had cached its list of fonts."""
    known = {entry.fname for entry in fontManager.ttflist}
    for path in sorted(set(findSystemFonts()) - known):
        with contextlib.suppress(Exception):  # as matplotlib does with a font that it cannot read
            fontManager.addfont(path)


def _choose_families(letters: set[str]) -> list[str]:
    """Return font families that have the letters, the one with the most letters first."""
    entries = {entry.fname: entry for entry in reversed(fontManager.ttflist)}  # a file's first face
    upright = [entry for entry in entries.values() if entry.style == "normal"]
    found = {entry.fname: _letters_of(entry, letters) for entry in sorted(upright, key=_preference)}
    families = []
    while letters and found:
        best = max(found, key=lambda path: len(found[path] & letters))  # the first of equal ones
        if found[best].isdisjoint(letters):
            break
        families.append(entries[best].name)
        letters = letters - found[best]
    return families


def _preference(entry: FontEntry) -> tuple[bool, int, bool, str]:
    """Return a sort key: fonts that resemble the default font come first, in a fixed order."""
    weight = weight_dict.get(str(entry.weight), entry.weight)
    is_sans = "sans" in entry.name.lower()
    return entry.stretch != "normal", abs(int(weight) - 400), not is_sans, entry.fname


def _letters_of(entry: FontEntry, letters: set[str]) -> set[str]:
    """Return those of the letters for which a font has an outline.

    Coloured emoji have none, and matplotlib draws nothing for them. Fonts of last resort have the
    same box for all letters of a script.
    """
    if "lastresort" in entry.name.lower().replace(" ", ""):
        return set()
    try:
        font = FT2Font(entry.fname)
    except (OSError, RuntimeError):  # removed since matplotlib cached its list of fonts
        return set()
    return {letter for letter in letters if _has_outline(font, letter)}


def _has_outline(font: FT2Font, letter: str) -> bool:
    index = font.get_char_index(ord(letter))
    if not index:
        return False
    font.load_glyph(index, LoadFlags.NO_HINTING)
    vertices, _ = font.get_path()
    return len(vertices) > 0


def _warn(class_names: Sequence[str], lacking: list[str], redraw: str) -> None:
    shown = _number(class_names.index(lacking[0]), class_names)
    packages = {_package(letter) for name in lacking for letter in name if not _can_draw(letter)}
    print(
        f"warning: no font on this machine has the letters of {len(lacking)} of "
        f"{len(class_names)} class names, for example {shorten(lacking[0])}; figures show "
        f'"{shown}" in its place. After installing fonts, on Debian '
        f"for example with: apt-get install {' '.join(sorted(packages))}, {redraw}",
        file=sys.stderr,
    )


def _package(letter: str) -> str:
    """Return the Debian package of fonts that most likely has a letter."""
    if unicodedata.name(letter, "").startswith(CJK):
        return "fonts-noto-cjk"
    # Emoji: those of fonts-noto-color-emoji are bitmaps, which matplotlib cannot draw.
    if unicodedata.category(letter) in ("So", "Sk"):
        return "fonts-symbola"
    return "fonts-noto-core"
