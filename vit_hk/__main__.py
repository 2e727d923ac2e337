"""The program `python -m vit_hk COMMAND`; each command is a module of `vit_hk/commands`."""

import argparse
import errno
import gc
import importlib
import os
import sys
from typing import NoReturn

from vit_hk.environment import begin_garbage_collection, check_environment
from vit_hk.errors import UserError, one_line_errors

# What each command does, and its module in vit_hk/commands.
COMMANDS = {
    "predict": ("predict the classes of images", "predict"),
    "page": ("write the page of a run, to be mailed", "page"),
    "compare": ("compare two runs in one page", "compare"),
    "export": ("write weights in other libraries' formats", "export"),
    "import": ("read weights of other libraries", "import_weights"),
}


# What writing to stdout can raise; errors of files have a name.
OUTPUT_ERRORS = (errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, as all mistakes of a person are."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see {self.prog} --help")


def main(arguments: list[str] | None = None) -> None:
    """Run the command that the arguments name, those of the program where they are None."""
    parser = _Parser(prog="python -m vit_hk", description="Use a trained Vision Transformer.")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    check_environment()
    given = sys.argv[1:] if arguments is None else arguments
    for name, (summary, module) in COMMANDS.items():
        command = subparsers.add_parser(name, help=summary)
        if name in given[:1]:  # of the others nothing is imported, which would take seconds
            importlib.import_module(f"vit_hk.commands.{module}").add_arguments(command)
    begin_garbage_collection()
    parsed = parser.parse_args(given)
    try:
        parsed.run(parsed)
        sys.stdout.flush()
    except OSError as error:
        if isinstance(error, PermissionError):
            raise UserError(f"{error.filename}: {error.strerror}; fix its permissions") from None
        if error.filename is not None or error.errno not in OUTPUT_ERRORS:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):  # its reader has enough, for example `head`
            raise SystemExit(1) from None
        raise UserError(
            f"the output could not be written: {error.strerror}; make room there"
        ) from None


if __name__ == "__main__":
    gc.disable()  # until the command is imported
    with one_line_errors():
        main()
