import pytest
from matplotlib.figure import Figure

from vit_hk.figures.text import (
    extra_height,
    fit_clauses,
    fit_line,
    fit_name,
    lines_height,
    text_width,
    wrap,
)

DOG = "Staffordshire bullterrier"


@pytest.mark.parametrize("text", [DOG, "MMMM", "illl", "כלב", "$x^2$"])
@pytest.mark.parametrize("size", [7, 9, 12])
def test_width_is_that_of_the_drawn_text(text, size):
    figure = Figure()
    drawn = figure.text(0, 0, text, fontsize=size)
    figure.draw_without_rendering()
    assert 100 * text_width(text, size) == pytest.approx(drawn.get_window_extent().width, abs=1)


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("size", [8, 9, 12])
def test_lines_have_room_in_the_measured_height(count, size):
    figure = Figure()
    drawn = figure.text(0, 0, "\n".join(["Äpgj"] * count), fontsize=size)
    figure.draw_without_rendering()
    height = drawn.get_window_extent().height
    assert 0.9 * height <= 100 * lines_height(count, size) <= 1.4 * height


def test_extra_height_is_that_of_the_lines_beyond_the_usual_ones():
    rows = [["a", "b\nc\nd"], ["a", "b"], ["a\nb", ""]]
    assert extra_height(rows, 1, 9) == pytest.approx(lines_height(3, 9))
    assert extra_height(rows, 3, 9) == 0
    assert extra_height([], 1, 9) == 0


def test_a_text_that_fits_stays_as_it_is():
    assert fit_line(DOG, 10, 9) == DOG
    assert wrap(f" {DOG}  ", 10, 9) == f" {DOG}  "
    assert fit_name("true {} (98 %)", f" {DOG} ", 10, 9, 1) == f"true  {DOG}  (98 %)"


@pytest.mark.parametrize("text", [DOG, "x" * 200, "猫" * 40, "W", "e\u0301" * 30])
@pytest.mark.parametrize("inches", [0.5, 1.0, 1.9])
@pytest.mark.filterwarnings("ignore:Glyph")
def test_a_line_is_cut_no_more_than_needed(text, inches):
    line = fit_line(text, inches, 9)
    assert text_width(line, 9) <= inches
    if line != text:
        start = line.removesuffix("…")
        assert text.startswith(start)
        more = text[: len(start) + 2]
        assert text_width(f"{more}…", 9) > inches - 0.05


def test_lines_break_between_words():
    text = "true Wire-haired fox terrier, predicted German_shepherd/dog (98 %)"
    for tenths in range(8, 40):
        end = 0
        for line in wrap(text, tenths / 10, 9).split("\n"):
            assert text_width(line, 9) <= tenths / 10
            assert text[end:].lstrip().startswith(line)
            end = text.index(line, end) + len(line)
            assert text[end : end + 1] in ("", " ") or text[end - 1] in "-_/"
            assert text[end : end + 2] != " %"
        assert end == len(text)
    assert wrap(text, 2.2, 9).split("\n") == [
        "true Wire-haired fox terrier,",
        "predicted German_shepherd/dog",
        "(98 %)",
    ]


@pytest.mark.filterwarnings("ignore:Glyph")
def test_scripts_without_spaces_break_between_any_letters():
    lines = wrap(f"true {'猫' * 30}", 1.5, 9).split("\n")
    assert lines[0].startswith("true 猫")
    assert "".join(lines) == f"true {'猫' * 30}"
    assert all(1.2 < text_width(line, 9) <= 1.5 for line in lines[:-1])


def test_a_letter_is_not_parted_from_its_marks():
    lines = wrap("e\u0301" * 100, 1.0, 9).split("\n")
    assert len(lines) > 5
    assert {line[0] for line in lines} == {"e"}
    assert fit_line("e\u0301" * 100, 1.0, 9).endswith("e\u0301…")


def test_given_line_breaks_stay():
    assert wrap("a b\nc\n\nd", 5, 9) == "a b\nc\n\nd"


@pytest.mark.parametrize("max_lines", [1, 2, 3])
def test_names_are_shortened_but_not_the_text_around_them(max_lines):
    template = "predicted {} (98 %)"
    text = fit_name(template, "word " * 40, 1.8, 9, max_lines)
    assert text.count("\n") == max_lines - 1
    assert text.startswith("predicted word")
    assert text.endswith("… (98 %)")
    assert all(text_width(line, 9) <= 1.8 for line in text.split("\n"))


def test_clauses_stand_in_one_line_or_each_in_its_own():
    clauses = [("true {},", "cat"), ("predicted {}", "Norwegian elkhound")]
    assert fit_clauses(clauses, 2.6, 9, 1) == "true cat, predicted Norwegian elkhound"
    assert fit_clauses(clauses, 2.0, 9, 1) == "true cat,\npredicted Norwegian elkhound"
    assert fit_clauses(clauses, 1.5, 9, 2) == "true cat,\npredicted Norwegian\nelkhound"
    lines = fit_clauses(clauses, 1.5, 9, 1).split("\n")
    assert lines[0] == "true cat,"
    assert lines[1].startswith("predicted Norw")
    assert lines[1].endswith("…")


def test_names_are_filled_in_literally():
    name = "{0} {} %s $x$ \\n <b>"
    assert fit_name("true {}", name, 10, 9, 1) == f"true {name}"


def isolated(line: str) -> list[str]:
    """Return the isolated parts of a line; assert that each of them ends in that line."""
    parts = line.split("\u2068")
    assert all(part.count("\u2069") == 1 for part in parts[1:])
    assert "\u2069" not in parts[0]
    return [part.split("\u2069")[0] for part in parts[1:]]


@pytest.mark.parametrize("inches", [0.9, 1.2, 2.0, 5.0])
def test_right_to_left_names_are_isolated_in_each_line(inches):
    # Without isolation, "98" would change places with the name.
    name = "كلب الراعي الألماني"
    lines = fit_name("predicted {} (98 %)", name, inches, 9, 9).split("\n")
    assert (len(lines) > 1) == (inches < 2.5)
    shown = [part for line in lines for part in isolated(line)]
    assert " ".join(part.strip() for part in shown) == name
    assert "98 %)" in lines[-1].split("\u2069")[-1]


def test_other_names_are_not_isolated():
    assert fit_name("true {}", "Hündin", 5, 9, 1) == "true Hündin"
