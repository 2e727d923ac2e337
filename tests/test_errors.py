import io
import sys

import pytest

from vit_hk.errors import UserError, in_one_line, one_line_errors, shorten


def test_user_error_becomes_one_line_and_exit_code_1(capsys):
    with pytest.raises(SystemExit) as caught, one_line_errors():
        raise UserError("params.yaml: seed is wrong")
    assert caught.value.code == 1
    assert capsys.readouterr() == ("", "error: params.yaml: seed is wrong\n")


def test_other_exceptions_keep_their_traceback(capsys):
    # They are no mistakes of the user, and one line would hide where they came from.
    with pytest.raises(ZeroDivisionError), one_line_errors():
        raise ZeroDivisionError
    assert capsys.readouterr().err == ""


def test_success_is_silent(capsys):
    with one_line_errors():
        pass
    assert capsys.readouterr() == ("", "")


def test_message_of_another_library_becomes_one_short_line():
    assert in_one_line(ValueError("a\n b\x85c\r\nd")) == "a b c d"
    assert in_one_line("x" * 300) == "x" * 300
    assert in_one_line("x" * 301) == "x" * 297 + "..."


def test_long_values_are_shortened():
    assert shorten("a" * 58) == f"'{'a' * 58}'"
    assert shorten("a" * 59) == f"'{'a' * 56}..."
    assert shorten(10**5000) == "a number of thousands of digits"


def test_characters_that_stdout_cannot_encode_are_escaped(monkeypatch):
    stdout = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stdout)
    with one_line_errors():
        print("mitté …")
    stdout.flush()
    assert stdout.buffer.getvalue() == b"mitt\\xe9 \\u2026\n"
