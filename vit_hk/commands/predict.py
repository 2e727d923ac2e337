"""python -m vit_hk predict: the classes of image files."""

import argparse
import dataclasses
import itertools
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vit_hk.commands.find_images import ImageFile, find_images
from vit_hk.commands.records import (
    Csv,
    JsonLines,
    Record,
    TextTable,
    Writer,
    make_records,
    printable,
)
from vit_hk.commands.sheets import draw_sheets, sheet_paths
from vit_hk.data.image_preparation import (
    Prepared,
    UnreadableImageError,
    join_prepared,
    prepare_to_invert,
)
from vit_hk.errors import UserError
from vit_hk.params import Preparation
from vit_hk.runtime.devices import configure_jax
from vit_hk.runtime.memory import advise_out_of_memory
from vit_hk.trained_model import MAX_BATCH, TrainedModel, load

# Of the pixels of images that are predicted together; `Prepared` may have two.
MAX_BATCH_BYTES = 2**27

DESCRIPTION = """Predict the classes of images. They are prepared as the training images were.
An image that cannot be read is named with the reason, the others are predicted, and the exit code
is 1."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the description and the arguments of the command to its parser."""
    parser.description = DESCRIPTION
    parser.add_argument(
        "paths", nargs="+", metavar="PATH",
        help="an image, a folder or a ZIP file of images, a pattern in quotes, or - for stdin",
    )  # fmt: skip
    parser.add_argument(
        "--weights", type=Path, default=Path("models/vit.safetensors"), metavar="FILE",
        help="weights of this project (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--top", type=int, default=5, metavar="N",
        help="number of classes for each image (default: %(default)s)",
    )  # fmt: skip
    formats = parser.add_mutually_exclusive_group()
    formats.add_argument(
        "--json", action="store_true", help="print one line of JSON for each image"
    )
    formats.add_argument("--csv", action="store_true", help="print CSV with a header")
    parser.add_argument(
        "--attention", type=Path, metavar="DIR", help="draw the attention of each image into DIR"
    )
    parser.add_argument(
        "--invert", choices=("auto", "yes", "no"), default="auto",
        help="invert the brightness of images that look like inverted training images, of all, "
        "or of none (default: %(default)s)",
    )  # fmt: skip
    parser.set_defaults(run=run)


@advise_out_of_memory("close other programs")
def run(arguments: argparse.Namespace) -> None:
    """Print a record for each image that the arguments name.

    Raises:
      UserError: an argument is wrong; nothing has been predicted then.
      SystemExit: the code is 1, since an image could not be read.
    """
    if arguments.top < 1:
        raise UserError(f"--top is {arguments.top}; allowed: 1 or more")
    files = find_images(arguments.paths)
    names = [file.name for file in files]
    sheets = sheet_paths(arguments.attention, names) if arguments.attention else []
    configure_jax("auto")
    model = load(arguments.weights)
    preparation = model.preparation
    if preparation is None:
        raise UserError(
            f"{arguments.weights} is a model for images of {model.info.image_shape[-1]} channels, "
            "as no image file has; use vit_hk.load in Python, with arrays"
        )
    count = min(arguments.top, len(model.class_names))
    writer: Writer = TextTable(names, model.class_names)
    if arguments.json:
        writer = JsonLines()
    elif arguments.csv:
        writer = Csv(count)
    num_read = 0
    for batch in read_batches(files, preparation):
        num_read += len(batch.numbers)
        pixels, is_inverted = model.invert_images(batch.images, arguments.invert)
        predictions = dataclasses.replace(model.predict(pixels, "no"), is_inverted=is_inverted)
        batch_names = [names[number] for number in batch.numbers]
        for record in make_records(batch_names, predictions, model.class_names, count):
            writer.write(record)
            warn(record, model)
        if sheets:
            draw_sheets(model, predictions, [sheets[number] for number in batch.numbers])
    if num_read < len(files):
        raise SystemExit(1)


class Batch(NamedTuple):
    """Images that are predicted together."""

    numbers: list[int]  # their positions among all files
    images: Prepared  # uint8 [images, height, width, channels]


def read_batches(files: Sequence[ImageFile], preparation: Preparation) -> Iterator[Batch]:
    """Yield the images in batches; one that cannot be read is named on stderr and left out."""

    def read() -> Iterator[tuple[int, Prepared]]:
        for number, file in enumerate(files):
            try:
                yield number, prepare_to_invert(file.open(), preparation)
            except UnreadableImageError as error:
                print(f"error: {printable(file.name)}: {error}", file=sys.stderr)

    prepared = read()
    size = min(MAX_BATCH, max(1, MAX_BATCH_BYTES // math.prod(preparation.image_shape)))
    while batch := list(itertools.islice(prepared, size)):
        numbers, images = zip(*batch, strict=True)
        yield Batch(list(numbers), join_prepared(images, np.stack))


def warn(record: Record, model: TrainedModel) -> None:
    """Say on stderr what is unusual about an image."""
    if record.is_inverted:
        print(f"note: {printable(record.file)}: brightness inverted", file=sys.stderr)
    if record.is_unfamiliar:
        print(
            f"warning: {printable(record.file)}: unlike the training images (distance "
            f"{record.distance:.1f}, usual up to {model.threshold:.1f}); its prediction means "
            "little",
            file=sys.stderr,
        )
