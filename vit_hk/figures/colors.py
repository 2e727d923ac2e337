"""Colours that people with colour vision deficiency can distinguish too (seaborn's colorblind)."""

BLUE = "#0173b2"
ORANGE = "#de8f05"
GREEN = "#029e73"
PINK = "#cc78bc"
RED = "#d55e00"
SKY = "#56b4e9"
