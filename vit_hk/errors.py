"""How a person's mistake ends a stage: one line on stderr and exit code 1, no traceback."""

import contextlib
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

    Ctrl-C becomes exit code 130, as shells have it, without a traceback.
    """
    try:
        yield
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        print("stopped by Ctrl-C", file=sys.stderr)
        raise SystemExit(130) from None
