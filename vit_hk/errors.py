"""A user's error ends a stage with one line on stderr and exit code 1, without a traceback."""

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path


class UserError(Exception):
    """An error that the user can correct.

    The message names the file or the key, what was found, what is allowed, and what to do. It is
    one line, or where many images cannot be used, a line for each.
    """


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn a UserError inside the block into one line on stderr and exit code 1.

    Ctrl-C becomes exit code 130, as in a shell, without a traceback. A character that stdout
    cannot encode, in a locale that lacks it, is written as its escape sequence.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        yield
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        print("stopped by Ctrl-C", file=sys.stderr)
        raise SystemExit(130) from None


def check_file_exists(path: Path, stage: str) -> None:
    """Make sure that the file which a stage of the pipeline writes is there.

    Raises:
      UserError: it is not; the message names the stage to run.
    """
    if problem := find_file_problem(path):
        raise UserError(f"{path} is {problem}; make it with: dvc repro {stage}")


def find_file_problem(path: Path) -> str:
    """Return "not there" or "no file" where a path is no file, and otherwise an empty string.

    Where the system refuses to look, as for a name that is too long, the file is not there.
    """
    # The methods of Path raise the errors that these functions leave out.
    if os.path.isfile(path):  # noqa: PTH113
        return ""
    return "no file" if os.path.exists(path) else "not there"  # noqa: PTH110


def unreadable(path: Path, error: PermissionError) -> UserError:
    """Return the error of a file that the user may not read."""
    return UserError(f"{path} could not be read: {error.strerror}; make it readable")


def shorten(value: object, max_length: int = 60) -> str:
    """Return the repr of a value for a message, cut to at most `max_length` characters."""
    try:
        text = repr(value)
    except ValueError:  # Python refuses to print integers of more than 4,300 digits
        return "a number of thousands of digits"
    return text if len(text) <= max_length else f"{text[: max_length - 3]}..."


def in_one_line(error: object, max_length: int = 300) -> str:
    """Return the message of another library's error in one line of at most `max_length` characters.

    Such a message may quote a file, so it may have line breaks and any length.
    """
    text = " ".join(str(error).split())
    return text if len(text) <= max_length else f"{text[: max_length - 3]}..."
