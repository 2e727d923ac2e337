import csv
import io
import json

import numpy as np
import pytest

from vit_hk.commands.records import Csv, JsonLines, Record, TextTable, make_records, printable
from vit_hk.trained_model import Predictions

CLASSES = ["cat", 'a "dog", wild', "鳥"]
SURE = Record("x/é.png", [("cat", 0.99999), ("鳥", 0.00001)], 1.23456, False, False)
ODD = Record("a,\x1b[31m.png", [('a "dog", wild', 0.5), ("cat", 0.25)], 99.0, True, True)
UNKNOWN = Record("b", [("cat", 1.0), ("鳥", 0.0)], float("nan"), False, False)


def test_records_hold_the_most_probable_classes():
    predictions = Predictions(
        probabilities=np.array([[0.2, 0.5, 0.3], [0.25, 0.25, 0.5]]),
        classes=np.array([1, 2]), names=["", ""], distances=np.array([1.0, 2.0]),
        is_unfamiliar=np.array([False, True]), is_inverted=np.array([True, False]),
        images=np.zeros((2, 1, 1, 1)),
    )  # fmt: skip
    first, second = make_records(["a", "b"], predictions, CLASSES, 2)
    assert first == ("a", [('a "dog", wild', 0.5), ("鳥", 0.3)], 1.0, False, True)
    assert second == (
        "b",
        [("鳥", 0.5), ("cat", 0.25)],
        2.0,
        True,
        False,
    )  # of equal ones the first


def test_text_has_aligned_columns_and_no_control_characters(capsys):
    table = TextTable([SURE.file, ODD.file], CLASSES)
    table.write(SURE)
    table.write(ODD)
    first, second = capsys.readouterr().out.splitlines()
    assert first == "x/é.png         cat           100.0 %  鳥               0.0 %"
    assert second.startswith(r'a,\x1b[31m.png  a "dog", wild  50.0 %  cat            25.0 %')
    assert first.index("cat") == second.index('a "dog"')
    assert second.endswith("  unlike the training images, inverted")


def test_letters_stay_and_what_acts_on_a_terminal_is_escaped():
    # A screenshot of macOS, a Persian and a Hindi word with joiners.
    letters = "9.41.00\u202fPM a\u00a0b می\u200cخواهم क्\u200dष 👩\u200d🚀"
    assert printable(letters) == letters
    assert printable("a\x1b[31m\n\u202egpj\u2066") == r"a\x1b[31m\n\u202egpj\u2066"


def test_json_is_an_object_in_a_line_each(capsys):
    for record in (SURE, ODD, UNKNOWN):
        JsonLines().write(record)
    printed = capsys.readouterr().out
    assert printed.isascii()  # JSON has no other escapes for a terminal that lacks a letter
    lines = [json.loads(line) for line in printed.splitlines()]
    assert lines[0] == {
        "file": "x/é.png",
        "predictions": [
            {"class": "cat", "probability": 0.99999}, {"class": "鳥", "probability": 0.00001}
        ],
        "distance": 1.2346, "unfamiliar": False, "inverted": False,
    }  # fmt: skip
    assert (lines[1]["file"], lines[1]["unfamiliar"], lines[1]["inverted"]) == (
        ODD.file,
        True,
        True,
    )
    assert lines[2]["distance"] is None


def test_csv_has_a_header_and_quotes_what_must_be(capsys):
    table = Csv(2)
    for record in (SURE, ODD, UNKNOWN):
        table.write(record)
    header, sure, odd, unknown = csv.reader(io.StringIO(capsys.readouterr().out))
    assert header == [
        "file", "class_1", "probability_1", "class_2", "probability_2", "distance", "unfamiliar",
        "inverted",
    ]  # fmt: skip
    assert sure == ["x/é.png", "cat", "0.99999", "鳥", "1e-05", "1.2346", "false", "false"]
    assert odd[:3] == [ODD.file, 'a "dog", wild', "0.5"]
    assert odd[-2:] == ["true", "true"]
    assert unknown[5] == ""


@pytest.mark.parametrize("probability", [1e-7, 0.1234567])
def test_probabilities_are_rounded_to_a_millionth(capsys, probability):
    JsonLines().write(SURE._replace(top=[("cat", probability)]))
    (found,) = json.loads(capsys.readouterr().out)["predictions"]
    assert found["probability"] == round(probability, 6)
