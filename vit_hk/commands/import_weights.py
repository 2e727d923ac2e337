"""python -m vit_hk import: weights of other libraries as weights of this project."""

import argparse
import os
from collections.abc import Callable
from pathlib import Path

from vit_hk.atomic import check_writable
from vit_hk.errors import UserError
from vit_hk.formats.google import import_google
from vit_hk.formats.imported import Imported, Overrides, read_class_names
from vit_hk.formats.timm import import_timm
from vit_hk.formats.transformers import import_transformers
from vit_hk.model.size import count_parameters
from vit_hk.runtime.devices import configure_jax
from vit_hk.runtime.memory import advise_out_of_memory
from vit_hk.weights import save_weights

IMPORTERS: dict[str, Callable[[Path, Overrides], Imported]] = {
    "timm": import_timm,
    "transformers": import_transformers,
    "google": import_google,
}
DESCRIPTION = """Read weights of a plain Vision Transformer, and write them as a weights file of
this project. Neither the other library is needed nor any of its code; pickles are refused."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the description and the arguments of the command to its parser."""
    parser.description = DESCRIPTION
    parser.add_argument("format", choices=IMPORTERS, help="the library that wrote the weights")
    parser.add_argument(
        "source", type=Path, metavar="SOURCE",
        help="a folder with config.json and model.safetensors; for google an .npz file",
    )  # fmt: skip
    parser.add_argument("out", type=Path, metavar="OUT", help="the weights file to write")
    parser.add_argument(
        "--mean", type=float, nargs="+", metavar="M",
        help="mean of the pixels, on the scale 0 to 1, for all channels or for each "
        "(default: that of the source, or else 0.5)",
    )  # fmt: skip
    parser.add_argument(
        "--std", type=float, nargs="+", metavar="S",
        help="their standard deviation (default: as above)",
    )  # fmt: skip
    parser.add_argument(
        "--class-names", type=Path, metavar="FILE",
        help="a text file with the name of a class in each line (default: the names in the "
        "source, or else the numbers of the classes)",
    )  # fmt: skip
    parser.add_argument("--force", action="store_true", help="replace OUT where it exists")
    parser.set_defaults(run=run)


@advise_out_of_memory("close other programs")
def run(arguments: argparse.Namespace) -> None:
    """Import the weights that the arguments name.

    Raises:
      UserError: an argument or a file is wrong; nothing has been written then.
    """
    out: Path = arguments.out
    if os.path.lexists(out) and out.is_dir():  # is_dir fails where the name is too long
        raise UserError(f"{out} is a folder; name a file, for example {out / 'vit.safetensors'}")
    if os.path.lexists(out) and not arguments.force:
        raise UserError(f"{out} exists; choose another name, or replace it with --force")
    check_writable(out)
    names = read_class_names(arguments.class_names) if arguments.class_names else None
    overrides = Overrides(arguments.mean, arguments.std, names)
    configure_jax("cpu")
    params, info = IMPORTERS[arguments.format](arguments.source, overrides)
    save_weights(out, params, info)
    count = count_parameters(info.model, info.image_shape, len(info.class_names))
    height, width, channels = info.image_shape
    print(
        f"{out}: {count:,} parameters, {len(info.class_names):,} classes, images of {height} x "
        f"{width} pixels and {channels} channels, mean {info.mean}, std {info.std}"
    )
