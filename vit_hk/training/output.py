"""Lines that a training prints, also where nobody reads its output any more."""

import os
from typing import TextIO

from tqdm import tqdm


def print_line(text: str, output: TextIO) -> None:
    """Print a line above the progress bar, at once also where the output is a file or a pipe.

    Where the output cannot be written, this line and all later ones are dropped: in
    `dvc repro 2>&1 | tee log`, Ctrl-C ends `tee` too, and the training still saves its state.
    """
    try:
        tqdm.write(text, file=output)
        output.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), output.fileno())
