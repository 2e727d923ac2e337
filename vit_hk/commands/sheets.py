"""Sheets of attention for images of one's own, a PNG for each."""

import itertools
import os
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from vit_hk.atomic import check_writable
from vit_hk.errors import UserError
from vit_hk.explain.patch_attention import patch_attention, query_name
from vit_hk.figures.fonts import choose_fonts
from vit_hk.figures.saving import save_figure
from vit_hk.figures.sheet import draw_sheet
from vit_hk.trained_model import Predictions, TrainedModel

MAX_NAME = 50  # characters; a file name may have 255 bytes, and a character up to 4


def sheet_paths(folder: Path, files: Sequence[str]) -> list[Path]:
    """Return the path of each image's sheet, which depends on the names of the images alone.

    The sheet of "digits/7.jpg" is "digits_7.png", and that of another image of the same name
    "digits_7-2.png".

    Raises:
      UserError: one of them is there already, or cannot be written.
    """
    paths: dict[str, Path] = {}  # by what no other may have, on disks that ignore case too
    for file in files:
        stem = (
            re.sub(r"[^\w-]+", "_", re.sub(r"\.\w+$", "", file)).strip("_")[-MAX_NAME:] or "image"
        )
        numbered = (f"{stem}-{number}" for number in itertools.count(2))
        names = itertools.chain([stem], numbered)
        name = next(name for name in names if _key(name) not in paths)
        paths[_key(name)] = folder / f"{name}.png"
    listed = list(paths.values())
    if there := [path for path in listed if os.path.lexists(path)]:
        raise UserError(
            f"{there[0]} is there already, and so are {len(there) - 1} of {len(paths) - 1} other "
            "sheets; choose another folder, or remove them"
        )
    check_writable(listed[0])  # all are in one folder
    return listed


def _key(name: str) -> str:
    """Return what two names share that are one file on some disks."""
    return unicodedata.normalize("NFC", name).casefold()


def draw_sheets(model: TrainedModel, predictions: Predictions, paths: Sequence[Path]) -> None:
    """Draw the attention of each layer and head for each image, and write it to its path."""
    info = model.info
    names = choose_fonts(model.class_names, "draw the sheets again in another folder")
    for number, path in enumerate(paths):
        # One at a time: the weights of all queries of a large model take 200 MB an image.
        image = predictions.images[number]
        attention = model.attention(image, invert="no")  # it is inverted already
        maps = patch_attention(attention, info.num_patches, info.model.pool)[:, 0]
        sheet = draw_sheet(
            image,
            maps.reshape(*maps.shape[:-1], *info.grid),  # [L, H, rows, columns]
            predicted=names[predictions.classes[number]],
            probability=predictions.probabilities[number].max(),
            query_name=query_name(info.model.pool),
            num_tokens=info.num_tokens,
        )
        save_figure(sheet, path)
