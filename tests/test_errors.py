import pytest

from vit_hk.errors import UserError, one_line_errors


def test_user_error_becomes_one_line_and_exit_code_1(capsys):
    with pytest.raises(SystemExit) as caught, one_line_errors():
        raise UserError("params.yaml: seed is wrong")
    assert caught.value.code == 1
    assert capsys.readouterr() == ("", "error: params.yaml: seed is wrong\n")


def test_error_of_the_program_keeps_its_traceback(capsys):
    # It is no mistake of the user, and a line would hide where it came from.
    with pytest.raises(ZeroDivisionError), one_line_errors():
        raise ZeroDivisionError
    assert capsys.readouterr().err == ""


def test_success_is_silent(capsys):
    with one_line_errors():
        pass
    assert capsys.readouterr() == ("", "")
