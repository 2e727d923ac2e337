"""Colours that colour-blind eyes tell apart too."""

BLUE = "#0173b2"
ORANGE = "#de8f05"
GREEN = "#029e73"
PINK = "#cc78bc"
