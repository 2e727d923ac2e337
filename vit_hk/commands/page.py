"""python -m vit_hk page: the page of a run, to be mailed."""

import argparse
import tempfile
from pathlib import Path

from vit_hk.commands.own_page import add_output_option, check_own_page, write_page
from vit_hk.compare.origin import find_origin
from vit_hk.compare.run import named_errors
from vit_hk.compare.sources import REPORT, TIMING, WEIGHTS, find_files
from vit_hk.errors import UserError
from vit_hk.report.mailed_page import GENERATOR, add_run, read_stage_page
from vit_hk.timing import read_timing
from vit_hk.weights_metadata import weights_digest

DESCRIPTION = """Write a copy of a run's results/report.html with what tells it from others: the
name of the run, its commit, its training time and its speed. The page of the pipeline has none of
them, so that the same settings give the same bytes. Nothing is checked out or downloaded."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the description and the arguments of the command to its parser."""
    parser.description = DESCRIPTION
    parser.add_argument(
        "run_name", nargs="?", default=".", metavar="RUN",
        help="a folder with results (default: this one), a Git revision, or a DVC experiment",
    )  # fmt: skip
    add_output_option(parser, "page.html")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Write the page of the run that the arguments name.

    Raises:
      UserError: an argument is wrong, or the page of the run is missing; nothing has been written
        then.
    """
    check_own_page(arguments.output, GENERATOR)
    with tempfile.TemporaryDirectory() as scratch:
        files = find_files(
            arguments.run_name, Path(scratch), required=[REPORT], optional=[TIMING, WEIGHTS]
        )
        with named_errors(files):
            page, weights = read_stage_page(files.folder / REPORT)
            check_weights(files.find(WEIGHTS), weights)
        timing = read_timing(files.folder / TIMING, weights)
        page = add_run(page, find_origin(files), timing)
    write_page(arguments.output, page)


def check_weights(path: Path | None, digest: str) -> None:
    """Make sure that a page is about the weights of its run, where these can be found.

    Raises:
      UserError: it is about others, as where `report` did not run again after a training.
    """
    if path and weights_digest(path) != digest:
        raise UserError(
            f"{REPORT} is about other weights than {WEIGHTS}; make it again with: dvc repro"
        )
