"""How a person's mistake ends a stage: one line on stderr and exit code 1, no traceback."""

import contextlib
import io
import sys
from collections.abc import Iterator


class UserError(Exception):
    """A mistake that the user can mend.

    The message is one line: it names the file or the key, what was found, what is
    allowed, and what to do.
    """


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn a UserError inside the block into one line on stderr and exit code 1.

    Ctrl-C becomes exit code 130, as shells have it, without a traceback. What stdout cannot
    show, in a locale without such letters, is written as its number.
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


def shorten(value: object, most: int = 60) -> str:
    """A value as a message shows it: in one line of at most `most` characters."""
    try:
        text = repr(value)
    except ValueError:  # Python writes out no number of more than 4,300 digits
        return "a number of thousands of digits"
    return text if len(text) <= most else f"{text[: most - 3]}..."


def in_one_line(error: object, most: int = 300) -> str:
    """What another library says, without line breaks and not too long; it may quote a file."""
    text = " ".join(str(error).split())
    return text if len(text) <= most else f"{text[: most - 3]}..."
