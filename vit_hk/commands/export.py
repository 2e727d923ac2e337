"""python -m vit_hk export: weights of this project in the formats of other libraries."""

import argparse
from pathlib import Path

from vit_hk.commands.folder import check_new_folder, write_folder
from vit_hk.errors import UserError, find_file_problem
from vit_hk.formats.google import export_google
from vit_hk.formats.model_card import CARD, model_card
from vit_hk.formats.onnx import export_onnx
from vit_hk.formats.run_metrics import find_metrics
from vit_hk.formats.timm import export_timm
from vit_hk.formats.transformers import export_transformers
from vit_hk.runtime.devices import configure_jax
from vit_hk.runtime.memory import advise_out_of_memory
from vit_hk.weights import NAME_ANOTHER, read_weights

FORMATS = ("timm", "transformers", "google", "onnx")
DESCRIPTION = """Write trained weights as a folder in the format of another library, with a model
card (README.md). A setting that the format cannot hold ends in an error that names it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the description and the arguments of the command to its parser."""
    parser.description = DESCRIPTION
    parser.add_argument("format", choices=FORMATS, help="the library to write for")
    parser.add_argument("out", type=Path, metavar="OUT", help="the folder to write")
    parser.add_argument(
        "--weights", type=Path, default=Path("models/vit.safetensors"), metavar="FILE",
        help="weights of this project (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--uint8", action="store_true",
        help="onnx: the input is uint8 [N, height, width, channels], normalized in the graph",
    )  # fmt: skip
    parser.add_argument("--force", action="store_true", help="replace files of an OUT that exists")
    parser.set_defaults(run=run)


@advise_out_of_memory("close other programs")
def run(arguments: argparse.Namespace) -> None:
    """Export the weights that the arguments name.

    Raises:
      UserError: an argument or a file is wrong, or the format cannot hold the model; nothing has
        been written then.
    """
    if arguments.uint8 and arguments.format != "onnx":
        raise UserError(f"--uint8 is an option of onnx, not of {arguments.format}; leave it out")
    check_new_folder(arguments.out, arguments.force)
    path: Path = arguments.weights
    if problem := find_file_problem(path):
        raise UserError(
            f"{path} is {problem}; name a weights file with --weights, or make "
            "models/vit.safetensors with: dvc repro train"
        )
    configure_jax("cpu")
    weights = read_weights(path, NAME_ANOTHER)
    params, info = weights.params, weights.info
    match arguments.format:
        case "timm":
            files = export_timm(params, info)
        case "transformers":
            files = export_transformers(params, info)
        case "google":
            files = export_google(params, info)
        case _:
            files = export_onnx(params, info, arguments.uint8)
    metrics = find_metrics(path)
    temperature = float(weights.calibration.temperature) if weights.calibration else None
    card = model_card(arguments.format, info, metrics, temperature, arguments.uint8)
    write_folder(arguments.out, {**files, CARD: card.encode()})
    names = ", ".join(f"{name} ({len(content):,} bytes)" for name, content in files.items())
    print(f"{arguments.out}: {names}, {CARD}")
    if metrics is None:
        print(
            "README.md has no figures: dvc.lock does not record results/metrics.json for these "
            "weights"
        )
