"""Image files and Pillow images to the uint8 arrays that models are trained with.

Reads PNG, JPEG, GIF, BMP, TIFF and WebP, and only with Pillow. Colour profiles are ignored.
"""

import io
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageCms, ImageOps, UnidentifiedImageError
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import (
    BITSPERSAMPLE,
    PHOTOMETRIC_INTERPRETATION,
    SAMPLEFORMAT,
    TiffImageFile,
)

from vit_hk.errors import in_one_line
from vit_hk.params import ImageShape, Preparation, Resize

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP")
NAMES = ", ".join(FORMATS)
ENDINGS = {".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp"}  # of their files
MAX_FILE_BYTES = 2**28  # of an image file
BLOCK_BYTES = 2**20  # that are read at a time
MAX_PIXELS = 80_000_000  # of an image as it is stored: 320 MB in colours, as Pillow stores them
MAX_SIDE = 1_000_000  # pixels: Pillow takes 32 bytes for each of them to resize an image
NO_MEMORY = "needs more memory than is free"
BLACK_IS_ZERO = 1  # PhotometricInterpretation of a grey TIFF
SIGNED = 2  # SampleFormat of a TIFF
BICUBIC = Image.Resampling.BICUBIC

# How an image is turned to stand upright, for each value of the EXIF tag Orientation.
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class UnreadableImageError(Exception):
    """An image that cannot be used. The message is the reason; callers name the file before it."""


def open_image(source: str | Path | IO[bytes]) -> Image.Image:
    """Read an image and decode its first frame; limits are checked before memory is taken.

    Args:
      source: a path, or a file that is open for reading bytes (it need not be seekable).

    Raises:
      UnreadableImageError: it is missing, no image, damaged or cut off, of another format, or
        too large.
    """
    try:
        raw = _read_limited(source)
    except MemoryError:
        raise UnreadableImageError(NO_MEMORY) from None
    except OSError as error:
        raise UnreadableImageError(error.strerror or in_one_line(error)) from None
    if not raw:
        raise UnreadableImageError("empty file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of much that has no effect on pixels
            image = Image.open(io.BytesIO(raw), formats=FORMATS)
            _check_size(image)
            decode(image)
    except UnreadableImageError:
        raise
    except MemoryError:
        raise UnreadableImageError(NO_MEMORY) from None
    except UnidentifiedImageError:
        raise UnreadableImageError(
            f"no image, damaged at its start, or of a kind that is not read; allowed: {NAMES}"
        ) from None
    except Image.DecompressionBombError:
        raise UnreadableImageError(f"more than {MAX_PIXELS:,} pixels") from None
    except Exception as error:  # Pillow raises a dozen kinds of error on damaged files
        raise UnreadableImageError(f"damaged: {in_one_line(error, 100)}") from None
    return image


def decode(image: Image.Image) -> None:
    """Decode an image; without it, Pillow does so when its pixels are first needed.

    Raises:
      UnreadableImageError: it is damaged, pixels with more than 8 bits are not on a scale that is
        known, or memory is short.
    """
    try:
        _check_scale(image)
        if getattr(image, "tile", None):  # not yet decoded
            _scale_transparent_level(image)
        image.load()  # which turns TIFF files upright
    except UnreadableImageError:
        raise
    except MemoryError:
        raise UnreadableImageError(NO_MEMORY) from None
    except Exception as error:  # Pillow raises a dozen kinds of error on damaged files
        raise UnreadableImageError(f"damaged: {in_one_line(error, 100)}") from None


def prepare_image(image: Image.Image, preparation: Preparation) -> np.ndarray:
    """Return a decoded image as uint8 [height, width, channels], prepared as training images were.

    It is turned upright as its EXIF data say, scaled to 8 bits, laid over the background where it
    is transparent, converted to grey or colours, and resized with bicubic antialiasing. An image
    that has this size, depth and colour already keeps its pixels.

    Raises:
      UnreadableImageError: pixels with more than 8 bits are not on a scale that is known, or memory
        is short.
    """
    try:
        flat = _flatten(_upright(image), preparation.background)
        flat = _to_mode(flat, "L" if preparation.channels == 1 else "RGB")
        resized = _resize(flat, preparation)
    except MemoryError:
        raise UnreadableImageError(NO_MEMORY) from None
    return np.asarray(resized).reshape(preparation.height, preparation.width, preparation.channels)


class Prepared(NamedTuple):
    """Images on their background, and the same images on the inverse of that background.

    Inverting the second ones gives inverted images on the usual background. Where images show no
    background, both are the same array.
    """

    pixels: np.ndarray  # uint8 [..., height, width, channels]
    to_invert: np.ndarray


def prepare_to_invert(image: Image.Image, preparation: Preparation) -> Prepared:
    """Return an image as `prepare_image` does, also on the inverse of the background.

    Raises:
      UnreadableImageError: as `prepare_image`.
    """
    pixels = prepare_image(image, preparation)
    if not image.has_transparency_data and preparation.resize != "pad":
        return Prepared(pixels, pixels)
    inverse = preparation.model_copy(update={"background": 255 - preparation.background})
    return Prepared(pixels, prepare_image(image, inverse))


def join_prepared(
    images: Sequence[Prepared], join: Callable[[list[np.ndarray]], np.ndarray]
) -> Prepared:
    """Join images with a function such as np.stack.

    Where no image shows a background, both arrays of the result are the same one, too.
    """
    pixels = join([image.pixels for image in images])
    if all(image.to_invert is image.pixels for image in images):
        return Prepared(pixels, pixels)
    return Prepared(pixels, join([image.to_invert for image in images]))


def preparation_for(
    image_shape: ImageShape, resize: Resize, background: int = 0
) -> Preparation | None:
    """Return how image files become arrays of a shape.

    None for images that are neither grey nor RGB, which no file can become.
    """
    height, width, channels = image_shape
    if channels not in (1, 3):
        return None
    sizes = {"height": height, "width": width, "channels": channels}
    return Preparation.model_validate({**sizes, "resize": resize, "background": background})


def _read_limited(source: str | Path | IO[bytes]) -> bytes:
    if isinstance(source, str | Path):
        if not Path(source).is_file():  # to open a named pipe would wait for ever
            raise UnreadableImageError("not a file" if Path(source).exists() else "not there")
        with Path(source).open("rb") as file:
            return _read_limited(file)
    blocks, size = [], 0
    # A read of all at once would take the memory of the largest file that is allowed.
    while size <= MAX_FILE_BYTES and (block := source.read(BLOCK_BYTES)):
        blocks.append(block)
        size += len(block)
    raw = b"".join(blocks)
    if size > MAX_FILE_BYTES:
        raise UnreadableImageError(f"more than {MAX_FILE_BYTES:,} bytes")
    return raw


def _check_size(image: Image.Image) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise UnreadableImageError(
            f"{image.width:,} x {image.height:,} pixels; at most {MAX_PIXELS:,} are allowed"
        )
    if max(image.size) > MAX_SIDE:
        raise UnreadableImageError(
            f"{image.width:,} x {image.height:,} pixels; a side may have at most {MAX_SIDE:,}"
        )


def _check_scale(image: Image.Image) -> None:
    """Refuse grey TIFF files with other levels than 0 to 65,535, which Pillow does not scale.

    They have 9 to 15 bits, 32 bits or a sign (mode I), or white as 0. Of 8 bits with a sign Pillow
    would ignore the sign (mode L).
    """
    if not isinstance(image, TiffImageFile):
        return
    if image.mode == "L" and SIGNED in image.tag_v2.get(SAMPLEFORMAT, ()):
        raise UnreadableImageError("a grey TIFF of 8 bits must have no sign; convert it")
    has_levels = image.mode.startswith("I")
    if has_levels or image.mode == "F":
        bits, zero = (image.tag_v2.get(tag) for tag in (BITSPERSAMPLE, PHOTOMETRIC_INTERPRETATION))
        is_unknown = image.mode == "I" or (has_levels and bits != (16,))
        if is_unknown or zero != BLACK_IS_ZERO:
            raise UnreadableImageError(
                "a grey TIFF of more than 8 bits must have 16 without a sign or be of floats, with "
                "black as 0; convert it"
            )


def _scale_transparent_level(image: Image.Image) -> None:
    """Scale the transparent level of a PNG as Pillow scales its pixels when it decodes them.

    Those are grey ones of 2 or 4 bits, and colours of 16, of which Pillow keeps the upper 8.
    """
    level = image.info.get("transparency")
    if not isinstance(image, PngImageFile) or level is None:
        return
    match str(image.tile[0].args):
        case "L;2":
            image.info["transparency"] = 85 * level
        case "L;4":
            image.info["transparency"] = 17 * level
        case "RGB;16B":
            image.info["transparency"] = tuple(value >> 8 for value in level)


def _upright(image: Image.Image) -> Image.Image:
    """Turn an image as its EXIF data say; damaged EXIF data say nothing."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # Pillow raises a dozen kinds of error on damaged EXIF data
        return image
    # Not ImageOps.exif_transpose, which also writes the other tags again and may fail to.
    method = UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return image if method is None else image.transpose(method)


def _flatten(image: Image.Image, background: int) -> Image.Image:
    """Return an image of mode L or RGB: 8 bits, without palette and without transparency."""
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        return _to_8_bits(image, background)
    if image.has_transparency_data:
        return _lay_over(image, background)
    if image.mode == "LAB":
        return _lab_to_rgb(image)
    return _to_mode(image, "L" if image.mode in ("1", "L") else "RGB")


def _to_mode(image: Image.Image, mode: str) -> Image.Image:
    """Convert an image, and do not copy one that has the mode, as Image.convert does."""
    return image if image.mode == mode else image.convert(mode)


def _to_8_bits(image: Image.Image, background: int) -> Image.Image:
    """Scale grey pixels of 16 bits, or of floats from 0 to 1, to 8 bits."""
    pixels = np.asarray(image)
    scale = 1.0 if image.mode == "F" else 2**16 - 1
    if not (np.isfinite(pixels).all() and pixels.min() >= 0 and pixels.max() <= scale):
        raise UnreadableImageError(
            f"pixels from {pixels.min():g} to {pixels.max():g}; allowed: 0 to {scale:g} "
            f"in {'floats' if image.mode == 'F' else 'whole numbers'}"
        )
    if image.mode == "F":
        scaled = np.rint(pixels * (255 / scale)).astype(np.uint8)
    else:  # a table, since arrays of floats would take several times the memory of the image
        scaled = np.rint(np.arange(scale + 1) * (255 / scale)).astype(np.uint8)[pixels]
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):  # the one value of a 16-bit PNG that is transparent
        scaled[pixels == transparent] = background
    return Image.fromarray(scaled)


def _lay_over(image: Image.Image, background: int) -> Image.Image:
    """Lay an image with transparent pixels over a background of one grey level."""
    straight = {"La": "LA", "RGBa": "RGBA"}.get(image.mode)  # undo the product with alpha
    layer = (image.convert(straight) if straight else image).convert("RGBA")
    below = Image.new("RGBA", image.size, (background, background, background, 255))
    return Image.alpha_composite(below, layer).convert("RGB")


def _lab_to_rgb(image: Image.Image) -> Image.Image:
    lab, rgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    transform = ImageCms.buildTransform(lab, rgb, "LAB", "RGB")
    return transform.apply(image)


def _resize(image: Image.Image, preparation: Preparation) -> Image.Image:
    """Resize an image by cutting off what stands over, by filling up, or by stretching."""
    size = (preparation.width, preparation.height)
    if image.size == size:
        return image
    match preparation.resize:
        case "crop":
            return ImageOps.fit(image, size, BICUBIC)
        case "pad":
            scale = min(size[0] / image.width, size[1] / image.height)
            inner = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
            background = (preparation.background,) * len(image.getbands())
            padded = Image.new(image.mode, size, background)
            offset = ((size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2)
            padded.paste(image.resize(inner, BICUBIC), offset)
            return padded
        case "stretch":
            return image.resize(size, BICUBIC)
