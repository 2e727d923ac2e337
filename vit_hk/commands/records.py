"""Predictions as text, JSON lines or CSV: one record for each image."""

import csv
import json
import math
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from vit_hk.params import is_control
from vit_hk.trained_model import Predictions

# Unicode's bidirectional classes of characters that change the direction of the text around them.
DIRECTIONS = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


class Record(NamedTuple):
    """The prediction for one image file."""

    file: str
    top: list[tuple[str, float]]  # the most probable classes and their probabilities
    distance: float  # NaN where the weights have no statistics
    is_unfamiliar: bool
    is_inverted: bool


def make_records(
    files: Sequence[str], predictions: Predictions, class_names: Sequence[str], count: int
) -> Iterator[Record]:
    """Yield a record with the `count` most probable classes for each of N image files."""
    probabilities = predictions.probabilities
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :count]
    for number, (file, classes) in enumerate(zip(files, order, strict=True)):
        yield Record(
            file,
            [(class_names[c], float(probabilities[number, c])) for c in classes],
            float(predictions.distances[number]),
            bool(predictions.is_unfamiliar[number]),
            bool(predictions.is_inverted[number]),
        )


class TextTable:
    """Writes a line for each image, for people."""

    def __init__(self, files: Iterable[str], class_names: Iterable[str]) -> None:
        """Choose the widths of columns for all files and classes."""
        self._file_width = max(len(printable(file)) for file in files)
        self._class_width = max(len(printable(name)) for name in class_names)

    def write(self, record: Record) -> None:
        """Print a line with the most probable classes of an image."""
        classes = "  ".join(
            f"{printable(name):<{self._class_width}} {100 * probability:5.1f} %"
            for name, probability in record.top
        )
        notes = [
            note
            for note, applies in (
                ("unlike the training images", record.is_unfamiliar),
                ("inverted", record.is_inverted),
            )
            if applies
        ]
        line = f"{printable(record.file):<{self._file_width}}  {classes}  {', '.join(notes)}"
        print(line.rstrip())


class JsonLines:
    """Writes a JSON object in a line for each image."""

    def write(self, record: Record) -> None:
        """Print the JSON object of an image."""
        fields = {
            "file": record.file,
            "predictions": [
                {"class": name, "probability": round(probability, 6)}
                for name, probability in record.top
            ],
            "distance": None if math.isnan(record.distance) else round(record.distance, 4),
            "unfamiliar": record.is_unfamiliar,
            "inverted": record.is_inverted,
        }
        print(json.dumps(fields, allow_nan=False))  # in ASCII, whatever the terminal's encoding is


class Csv:
    """Writes a header, and a row for each image."""

    def __init__(self, count: int) -> None:
        """Print the header for `count` classes in a row."""
        self._writer = csv.writer(sys.stdout, lineterminator="\n")
        numbers = range(1, count + 1)
        columns = [f"{name}_{number}" for number in numbers for name in ("class", "probability")]
        self._writer.writerow(["file", *columns, "distance", "unfamiliar", "inverted"])

    def write(self, record: Record) -> None:
        """Print the row of an image."""
        top = [field for name, p in record.top for field in (name, round(p, 6))]
        distance = "" if math.isnan(record.distance) else round(record.distance, 4)
        flags = [str(flag).lower() for flag in (record.is_unfamiliar, record.is_inverted)]
        self._writer.writerow([record.file, *top, distance, *flags])


Writer = TextTable | JsonLines | Csv


def printable(text: str) -> str:
    """Return a name with escape sequences for the characters that would act on a terminal.

    These are control characters, and those that set the direction of the text around them.
    """
    return "".join(c.encode("unicode_escape").decode() if _acts(c) else c for c in text)


def _acts(character: str) -> bool:
    return is_control(character) or unicodedata.bidirectional(character) in DIRECTIONS
