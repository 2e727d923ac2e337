"""python -m vit_hk compare: two runs side by side in one page."""

import argparse
import tempfile
from pathlib import Path

from vit_hk.commands.own_page import add_output_option, check_own_page, write_page
from vit_hk.compare.page import GENERATOR, render_page
from vit_hk.compare.run import read_run
from vit_hk.compare.sources import find_files

DESCRIPTION = """Write a page that compares two runs: settings, metrics with their noise, curves,
the images on which they disagree, and the attention of both side by side. A run is a folder with
results, a Git revision, or a DVC experiment. Nothing is checked out or downloaded."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the description and the arguments of the command to its parser."""
    parser.description = DESCRIPTION
    for letter in ("A", "B"):
        parser.add_argument(
            letter.lower(), metavar=letter,
            help="a folder with results (. is this one), a Git revision, or a DVC experiment",
        )  # fmt: skip
    add_output_option(parser, "compare.html")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Write the page that compares the runs which the arguments name.

    Raises:
      UserError: an argument is wrong, or a file is damaged; nothing has been written then.
    """
    output: Path = arguments.output
    check_own_page(output, GENERATOR)
    with tempfile.TemporaryDirectory() as scratch:
        runs = []
        for letter in ("a", "b"):
            folder = Path(scratch) / letter
            folder.mkdir()
            runs.append(read_run(find_files(getattr(arguments, letter), folder)))
        page = render_page(*runs)
    for found in runs:
        if found.files.missing:
            names = ", ".join(str(file) for file in found.files.missing)
            print(f"note: {found.files.name} lacks {names}. {found.files.remedy}")
    write_page(output, page)
