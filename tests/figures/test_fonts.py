import numpy as np
import pytest
from matplotlib import font_manager, rcParams
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from vit_hk.figures.fonts import choose_fonts


def draw(text: str) -> np.ndarray:
    """Return the pixels of a text."""
    figure = Figure(figsize=(3, 0.5))
    figure.text(0.1, 0.4, text)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())


@pytest.fixture
def _no_search(monkeypatch):
    def fail() -> None:
        raise AssertionError("the search for fonts takes time")

    monkeypatch.setattr("vit_hk.figures.fonts.findSystemFonts", fail)


@pytest.mark.usefixtures("_no_search")
@pytest.mark.parametrize(
    "names",
    [
        list("0123456789"),
        ["Ångström", "ποδήλατο", "собака", "كلب", "כלב", "😀", "❤\ufe0f"],
        ["a\u200db", "a\u00a0b", "a\u00adb", "a\u200cb", "a\u2060b", "e\u0301"],
    ],
    ids=["digits", "scripts of DejaVu Sans", "invisible letters"],
)
@pytest.mark.filterwarnings("error")
def test_letters_of_the_default_font_need_no_other_font(names, capsys):
    assert choose_fonts(names) == names
    assert rcParams["font.family"] == ["sans-serif"]
    assert capsys.readouterr().err == ""
    for name in names:
        draw(name)  # matplotlib warns of a box


def test_invisible_letters_have_no_box():
    for letter in "\u200d\u200c\u00ad\u2060\ufeff":
        np.testing.assert_array_equal(draw(f"a{letter}b"), draw("ab"))
    np.testing.assert_array_equal(draw("a\u00a0b"), draw("a b"))


def test_a_number_that_is_the_name_of_another_class_is_marked(fonts, capsys):
    assert not fonts
    assert choose_fonts(["class 1", "猫", "class 1*"]) == ["class 1", "class 1**", "class 1*"]
    assert 'figures show "class 1**" in its place' in capsys.readouterr().err


def test_without_a_font_names_become_numbers(fonts, capsys):
    assert not fonts
    names = ["cat", "猫", "dog", "犬"]
    assert choose_fonts(names) == ["cat", "class 1", "dog", "class 3"]
    assert rcParams["font.family"] == ["sans-serif"]
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith("warning: no font on this machine has the letters of 2 of 4 class names")
    assert "'猫'" in line
    assert '"class 1"' in line
    assert "apt-get install fonts-noto-cjk," in line
    assert line.endswith("with: dvc repro --force --single-item attention report")


@pytest.mark.parametrize(
    ("name", "package"),
    [
        ("猫", "fonts-noto-cjk"), ("ねこ", "fonts-noto-cjk"), ("고양이", "fonts-noto-cjk"),
        ("แมว", "fonts-noto-core"), ("बिल्ली", "fonts-noto-core"), ("ድመት", "fonts-noto-core"),
        ("👩\u200d🚀", "fonts-symbola"), ("🦮", "fonts-symbola"),
        ("猫 แมว", "fonts-noto-cjk fonts-noto-core"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("fonts")
def test_the_package_is_that_of_the_script(name, package, capsys):
    assert choose_fonts(["cat", name]) == ["cat", "class 1"]
    assert f"apt-get install {package}," in capsys.readouterr().err


@pytest.mark.filterwarnings("error")
def test_a_font_that_was_installed_meanwhile_is_found(fonts, make_font, capsys):
    # matplotlib keeps its list of fonts in a file, which does not have the new font.
    fonts.append(make_font("猫犬"))
    names = ["cat", "猫", "犬", "猫\u00a0and\u200d 犬"]
    assert choose_fonts(names) == names
    assert rcParams["font.family"] == ["sans-serif", "Bars Sans"]
    assert capsys.readouterr().err == ""
    assert (draw("猫") != draw("犬")).any()
    assert (draw("cat") != draw("猫")).any()


@pytest.mark.usefixtures("fonts")
def test_latin_letters_stay_in_the_default_font(make_font):
    before = draw("cat")
    font_manager.fontManager.addfont(make_font("猫cat"))
    choose_fonts(["猫", "cat"])
    np.testing.assert_array_equal(draw("cat"), before)


@pytest.mark.parametrize("reverse", [False, True])
def test_the_choice_depends_on_the_fonts_and_not_on_their_order(fonts, make_font, reverse):
    fonts += [
        make_font("猫犬", "Bars Serif"),
        make_font("猫犬", "Bars Sans", "Bold"),
        make_font("猫犬", "Bars Sans"),
        make_font("猫", "A Sans"),
        make_font("ไ", "Thai Sans"),
    ]
    for path in reversed(fonts) if reverse else fonts:
        font_manager.fontManager.addfont(path)
    names = ["猫", "犬", "ไ"]
    assert choose_fonts(names) == names
    assert rcParams["font.family"] == ["sans-serif", "Bars Sans", "Thai Sans"]


@pytest.mark.parametrize(
    ("family", "outlines"), [("LastResort", True), ("Last Resort Extra", True), ("Emoji", False)]
)
def test_fonts_that_only_pretend_to_have_a_letter_are_left_out(fonts, make_font, family, outlines):
    fonts.append(make_font("猫", family, outlines=outlines))
    assert choose_fonts(["cat", "猫"]) == ["cat", "class 1"]


def test_files_that_are_no_fonts_are_left_out(fonts, make_font, tmp_path):
    (tmp_path / "broken.ttf").write_bytes(b"no font")
    removed = make_font("猫", "Removed")
    font_manager.fontManager.addfont(removed)
    (tmp_path / "Removed-Regular.ttf").unlink()
    fonts += [str(tmp_path / "broken.ttf"), str(tmp_path / "missing.ttf")]
    assert choose_fonts(["cat", "猫"]) == ["cat", "class 1"]


def test_a_second_data_set_starts_from_the_default_font(fonts, make_font):
    fonts.append(make_font("猫犬"))
    choose_fonts(["猫"])
    choose_fonts(["cat"])
    assert rcParams["font.family"] == ["sans-serif"]
