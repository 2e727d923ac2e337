"""Writes the page of a command, and replaces no file that the command did not write."""

import argparse
import os
from pathlib import Path

from vit_hk.atomic import check_writable, replacing
from vit_hk.errors import UserError

HEAD_BYTES = 2000  # of a page, in which its generator is named


def add_output_option(parser: argparse.ArgumentParser, default: str) -> None:
    """Add the option that names the page to write."""
    parser.add_argument(
        "-o", "--output", type=Path, default=Path(default), metavar="FILE",
        help="the page to write (default: %(default)s)",
    )  # fmt: skip


def check_own_page(output: Path, generator: str) -> None:
    """Make sure that the page can be written, and that no file of the user would be replaced.

    Args:
      output: the page to write.
      generator: the content of the page's element `<meta name="generator">`.

    Raises:
      UserError: there is a folder, or a file which this command did not write, or the folder around
        it is not writable.
    """
    try:
        is_folder = output.is_dir()
        is_own = output.is_file() and _is_page_of(output, generator)
    except OSError as error:
        raise UserError(
            f"{output} cannot be read: {error.strerror}; name another file with -o"
        ) from None
    if is_folder:
        raise UserError(f"{output} is a folder; name a file, for example {output / 'page.html'}")
    # A link to nothing, a pipe and a device are somebody's too.
    if os.path.lexists(output) and not is_own:
        raise UserError(
            f"{output} is there already and is no page of this command; name another file with "
            "-o, or remove it"
        )
    check_writable(output)


def _is_page_of(path: Path, generator: str) -> bool:
    with path.open("rb") as file:
        return f'content="{generator}"'.encode() in file.read(HEAD_BYTES)


def write_page(output: Path, page: str) -> None:
    """Write the page and print its size."""
    with replacing(output) as temporary:
        temporary.write_text(page, "utf-8")
    print(f"{output}: {len(page.encode()):,} bytes")
