"""The program `python -m vit_hk COMMAND`; each command is a module of `vit_hk/commands`."""

import argparse
import os
import sys
from typing import NoReturn

from vit_hk.commands import compare, export, import_weights, page, predict
from vit_hk.errors import UserError, one_line_errors


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, as all mistakes of a person are."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see {self.prog} --help")


def main(arguments: list[str] | None = None) -> None:
    """Run the command that the arguments name, those of the program where they are None."""
    parser = _Parser(prog="python -m vit_hk", description="Use a trained Vision Transformer.")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (predict, page, compare, export, import_weights):
        command.add_parser(subparsers)
    parsed = parser.parse_args(arguments)
    try:
        parsed.run(parsed)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever reads the output has enough, for example `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None


if __name__ == "__main__":
    with one_line_errors():
        main()
