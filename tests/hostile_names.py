"""Class names that a careless program takes for markup, formulas, formats or missing values."""

import unicodedata

from hypothesis import strategies as st

HOSTILE = [
    "$x^2$", "$", "$$", r"\frac", r"$\frac{1}{0$", r"\$5", "a_b_{c}", "100 %", "%s %d", "{0} {}",
    "</script>", "{{ x }}", "{% x %}", "{# x #}", "<b>&amp;", "'\"`", "a,b;c", " lead, trail ",
    "two  spaces", "_hidden", "שלום $x$", "\u202eoverride", "a\u00a0b\u200dc", "😀", "\\n",
    "#1 ~ ^", "~/pictures", "NA", "007",
]  # fmt: skip
_LETTERS = st.sampled_from([*"$\\{}_^%<>&'\"`,;#~|/()[]. aZ9éйשغ😀…", "\u00a0", "\u200d", "\u202e"])


def _is_visible(name: str) -> bool:
    return any(unicodedata.category(letter)[0] not in "CZ" for letter in name)


# All letters are in DejaVu Sans, which comes with matplotlib.
OTHER_NAMES = st.text(_LETTERS, min_size=1, max_size=30).filter(
    lambda name: _is_visible(name) and name not in HOSTILE
)
