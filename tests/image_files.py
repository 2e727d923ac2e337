"""Functions that write image files for tests."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def encoded(image: Image.Image, image_format: str = "PNG", **options: Any) -> bytes:
    """Return an image as the bytes of a file."""
    file = io.BytesIO()
    image.save(file, image_format, **options)
    return file.getvalue()


def random_image(seed: int, mode: str, width: int, height: int) -> Image.Image:
    """Return random pixels in a mode of Pillow; alpha channels are random too."""
    random = np.random.default_rng(seed)
    match mode:
        case "F":
            return Image.fromarray(random.uniform(0, 1, (height, width)).astype(np.float32))
        case "I":
            return Image.fromarray(random.integers(0, 2**16, (height, width)).astype(np.int32))
        case "I;16" | "I;16L" | "I;16B" | "I;16N":
            pixels = random.integers(0, 2**16, (height, width)).astype(np.uint16)
            return Image.frombytes("I;16", (width, height), pixels.tobytes())
        case "1":
            return Image.fromarray(random.integers(0, 2, (height, width)) > 0)
    size = (width, height)
    channels = len(Image.new(mode, (1, 1)).getbands())
    image = Image.frombytes(mode, size, random.bytes(width * height * channels))
    if mode in ("P", "PA"):
        image.putpalette(random.bytes(768))
    return image


def write_folder(root: Path, classes: dict[str, int], size: tuple[int, int] = (9, 7)) -> None:
    """Write grey PNG files 1.png, 2.png, … below a folder for each class; no two are equal."""
    random = np.random.default_rng(len(str(root.name)))
    for number, (name, count) in enumerate(classes.items()):
        (root / name).mkdir(parents=True)
        for index in range(1, count + 1):
            pixels = random.integers(0, 60, size[::-1], dtype=np.uint8)
            pixels[:, number :: len(classes)] += 150
            Image.fromarray(pixels).save(root / name / f"{index}.png")
