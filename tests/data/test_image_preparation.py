import io
import os
import struct
import zlib
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from image_files import encoded, random_image
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngImageFile

from vit_hk.data import image_preparation as module
from vit_hk.data.image_preparation import (
    UnreadableImageError,
    decode,
    open_image,
    prepare_image,
)
from vit_hk.params import Preparation

MODES = (
    "1", "L", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "F", "LA", "PA", "RGBX",
    "RGBa", "La", "I;16", "I;16B",
)  # fmt: skip
WRITABLE = {  # modes that Pillow writes in each format
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    "JPEG": ("L", "RGB", "CMYK", "YCbCr"),
    "GIF": ("1", "L", "P", "RGB", "RGBA"),
    "BMP": ("1", "L", "P", "RGB", "RGBA"),
    "TIFF": ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I;16", "F"),
    "WEBP": ("RGB", "RGBA"),
}
FILES = [(name, mode) for name, modes in WRITABLE.items() for mode in modes]
SIDES = st.integers(1, 40)


def how(height=4, width=6, channels=1, resize="stretch", background=200) -> Preparation:
    return Preparation(
        height=height, width=width, channels=channels, resize=resize, background=background
    )


def keeping(image: Image.Image, channels: int = 1, background: int = 200) -> np.ndarray:
    """Return a prepared image of unchanged size."""
    return prepare_image(image, how(image.height, image.width, channels, background=background))


def refuse(source) -> str:
    with pytest.raises(UnreadableImageError) as caught:
        open_image(source)
    reason = str(caught.value)
    assert reason
    assert len(reason.splitlines()) == 1
    return reason


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(MODES), SIDES, SIDES, SIDES, SIDES, st.sampled_from([1, 3]),
    st.sampled_from(["crop", "pad", "stretch"]), st.integers(0, 255),
)  # fmt: skip
def test_images_of_all_modes_and_sizes_get_one_shape(
    mode, width, height, new_height, new_width, channels, resize, background
):
    image = random_image(width * height, mode, width, height)
    pixels = prepare_image(image, how(new_height, new_width, channels, resize, background))
    assert pixels.dtype == np.uint8
    assert pixels.shape == (new_height, new_width, channels)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(FILES), SIDES, SIDES, st.sampled_from([1, 3]))
def test_files_of_all_formats_are_read_as_pillow_reads_them(file, width, height, channels):
    image_format, mode = file
    content = encoded(random_image(width + 40 * height, mode, width, height), image_format)
    pixels = keeping(open_image(io.BytesIO(content)), channels)
    assert pixels.shape == (height, width, channels)
    read = Image.open(io.BytesIO(content))
    if not read.has_transparency_data and read.mode in ("1", "L", "RGB", "CMYK", "YCbCr", "P"):
        expected = np.asarray(read.convert("RGB").convert("L" if channels == 1 else "RGB"))
        np.testing.assert_array_equal(pixels, expected.reshape(pixels.shape))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(FILES), st.data())
def test_damaged_files_give_an_image_or_a_reason(file, data):
    image_format, mode = file
    content = bytearray(encoded(random_image(1, mode, 20, 15), image_format))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    del content[data.draw(st.integers(1, 2 * len(content))) :]
    try:
        pixels = prepare_image(open_image(io.BytesIO(content)), how())
    except UnreadableImageError as error:
        reason = str(error)
    else:
        assert pixels.shape == (4, 6, 1)
        reason = "none"
    assert len(reason.splitlines()) == 1


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "BMP", "TIFF", "WEBP"])
def test_file_that_ends_early_is_refused(image_format):
    content = encoded(random_image(0, "RGB", 40, 30), image_format)
    for share in (0.3, 0.6, 0.9):
        refuse(io.BytesIO(content[: int(share * len(content))]))


@pytest.mark.parametrize("channels", [1, 3])
def test_image_that_is_as_it_should_be_keeps_its_pixels(channels):
    image = random_image(0, "L" if channels == 1 else "RGB", 12, 9)
    for resize in ("crop", "pad", "stretch"):
        pixels = prepare_image(image, how(9, 12, channels, resize))
        np.testing.assert_array_equal(pixels, np.asarray(image).reshape(9, 12, channels))


def palette_image() -> Image.Image:
    """Return the pixels 0 and 1, whose colours are 50 and 100."""
    image = Image.frombytes("P", (2, 1), bytes([0, 1]))
    image.putpalette([50, 50, 50, 100, 100, 100])
    return image


def with_alpha(mode: str) -> Image.Image:
    image = Image.new(mode, (2, 1))
    bands = len(image.getbands()) - 1
    image.putpixel((0, 0), (50,) * bands + (0,))
    image.putpixel((1, 0), (100,) * bands + (255,))
    return image


def grey_png(bits: int, levels: list[int], transparent: int) -> bytes:
    """Return a PNG of a row of two grey pixels, which Pillow cannot write with so few bits."""
    row = levels[0] << (8 - bits) | levels[1] << (8 - 2 * bits)
    return raw_png(bits, 0, bytes([row]), struct.pack(">H", transparent))


def raw_png(bits: int, colour_type: int, row: bytes, transparent: bytes) -> bytes:
    """Return a PNG of a row of two pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", struct.pack(">2I5B", 2, 1, bits, colour_type, 0, 0, 0)),
            chunk(b"tRNS", transparent),
            chunk(b"IDAT", zlib.compress(b"\0" + row)),
            chunk(b"IEND", b""),
        ]
    )


def test_lack_of_memory_is_no_damage(monkeypatch):
    def fail(_: Image.Image) -> None:
        raise MemoryError

    monkeypatch.setattr(PngImageFile, "load", fail)
    with pytest.raises(UnreadableImageError, match="needs more memory than is free"):
        open_image(io.BytesIO(encoded(Image.new("L", (2, 1)))))


def test_a_file_is_read_in_small_blocks_and_lack_of_memory_is_named():
    class File(io.BytesIO):
        asked: ClassVar[list[int]] = []

        def read(self, size: int = -1) -> bytes:
            if not 0 <= size <= 2**22:
                raise MemoryError
            self.asked.append(size)
            return super().read(size)

    noise = np.random.default_rng(0).integers(0, 256, (1200, 1200, 3), np.uint8)
    assert open_image(File(encoded(Image.fromarray(noise)))).size == (1200, 1200)
    assert len(File.asked) > 2

    class Full(io.BytesIO):
        def read(self, *_: object) -> bytes:
            raise MemoryError

    with pytest.raises(UnreadableImageError, match="needs more memory than is free"):
        open_image(Full())


TRANSPARENT = {
    "LA": encoded(with_alpha("LA")),
    "RGBA": encoded(with_alpha("RGBA")),
    "RGBA in WebP": encoded(with_alpha("RGBA"), "WEBP", lossless=True),
    "RGBA in TIFF": encoded(with_alpha("RGBA"), "TIFF"),
    "one colour of a palette": encoded(palette_image(), transparency=0),
    "alpha of each colour of a palette": encoded(palette_image(), transparency=bytes([0, 255])),
    "one colour of a GIF": encoded(palette_image(), "GIF", transparency=0),
    "one grey level": encoded(Image.frombytes("L", (2, 1), bytes([50, 100])), transparency=50),
    "one colour": encoded(
        Image.frombytes("RGB", (2, 1), bytes([50] * 3 + [100] * 3)), transparency=(50, 50, 50)
    ),
    "one of 4-bit levels": grey_png(4, [3, 6], transparent=3),  # in steps of 17
    "one of 2-bit levels": grey_png(2, [2, 1], transparent=2),  # in steps of 85
    "one of 16-bit levels": encoded(
        Image.frombytes("I;16", (2, 1), struct.pack("<2H", 50 * 257, 100 * 257)),
        transparency=50 * 257,
    ),
    "one of 16-bit colours": raw_png(
        16, 2, struct.pack(">6H", *[50 * 257] * 3, *[100 * 257] * 3),
        struct.pack(">3H", *[50 * 257] * 3),
    ),
}  # fmt: skip


def opened_by_a_person(content: bytes) -> Image.Image:
    """Open an image with Pillow, and decode it as `to_pixels` does."""
    image = Image.open(io.BytesIO(content))
    decode(image)
    return image


@pytest.mark.parametrize("kind", TRANSPARENT)
def test_transparent_pixels_show_the_background(kind):
    content = TRANSPARENT[kind]
    level = {"one of 4-bit levels": 102, "one of 2-bit levels": 85}.get(kind, 100)
    for image in (open_image(io.BytesIO(content)), opened_by_a_person(content)):
        assert keeping(image).ravel().tolist() == [200, level]
        assert keeping(image, channels=3).tolist() == [[[200] * 3, [level] * 3]]


def test_black_and_white_pixels_may_be_transparent():
    image = Image.frombytes("1", (2, 1), bytes([0b01000000]))  # black and white
    content = encoded(image, transparency=0)
    assert keeping(open_image(io.BytesIO(content))).ravel().tolist() == [200, 255]
    assert keeping(image).ravel().tolist() == [0, 255]


@pytest.mark.parametrize("mode", ["LA", "La", "PA", "RGBA", "RGBa"])
def test_transparent_images_in_memory_show_the_background(mode):
    assert keeping(Image.new(mode, (2, 1))).ravel().tolist() == [200, 200]


@given(level=st.integers(0, 255), alpha=st.integers(0, 255), background=st.integers(0, 255))
def test_partly_transparent_pixels_are_mixed_with_the_background(level, alpha, background):
    image = Image.new("RGBA", (1, 1), (level, level, level, alpha))
    mixed = (level * alpha + background * (255 - alpha)) / 255
    assert abs(int(keeping(image, background=background).item()) - mixed) <= 1


def test_pixels_of_16_bits_and_floats_are_scaled():
    levels = np.array([[0, 128, 129, 257, 30000, 65535]], np.uint16)
    expected = np.rint(levels / 257).astype(int).ravel().tolist()
    in_png = open_image(io.BytesIO(encoded(Image.fromarray(levels))))
    assert in_png.mode == "I;16"
    assert keeping(in_png).ravel().tolist() == expected
    assert keeping(Image.fromarray(levels.astype(np.int32))).ravel().tolist() == expected
    floats = Image.fromarray(np.array([[0, 0.25, 1]], np.float32))
    assert keeping(floats).ravel().tolist() == [0, 64, 255]


def grey_tiff(bits: int, photometric: int) -> bytes:
    """Return a TIFF file of 2 x 1 pixels whose bits are all 0, without compression."""
    entries = {256: 2, 257: 1, 258: bits, 259: 1, 262: photometric, 273: 200, 278: 1, 279: 4}
    directory = b"".join(struct.pack("<HHIHxx", tag, 3, 1, n) for tag, n in entries.items())
    header = b"II*\0" + struct.pack("<IH", 8, len(entries)) + directory + bytes(4)
    return header.ljust(200, b"\0") + bytes(4)


def test_grey_tiff_of_another_scale_than_16_bits_from_black_is_refused():
    assert keeping(open_image(io.BytesIO(grey_tiff(16, 1)))).ravel().tolist() == [0, 0]
    for bits, photometric in ((12, 1), (16, 0)):
        content = grey_tiff(bits, photometric)
        assert Image.open(io.BytesIO(content)).mode == "I;16"  # so Pillow would read it
        assert "must have 16 without a sign or be of floats" in refuse(io.BytesIO(content))


def test_grey_tiff_of_8_bits_with_a_sign_is_refused():
    for sample_format in (1, 2):  # without a sign, and with one
        stream = io.BytesIO()
        Image.new("L", (2, 1), 200).save(stream, "TIFF", tiffinfo={339: sample_format})
        assert Image.open(stream).mode == "L"  # so Pillow would read it
        content = io.BytesIO(stream.getvalue())
        if sample_format == 1:
            assert keeping(open_image(content)).ravel().tolist() == [200, 200]
        else:
            assert "of 8 bits must have no sign" in refuse(content)


@pytest.mark.parametrize("largest", [255, 65_535])
def test_tiff_of_32_bit_integers_is_refused(largest):
    stream = io.BytesIO()
    Image.fromarray(np.array([[0, largest]], np.int32)).save(stream, "TIFF")
    assert Image.open(stream).mode == "I"
    assert "must have 16 without a sign or be of floats" in refuse(io.BytesIO(stream.getvalue()))


def test_tiff_of_floats_with_white_as_0_is_refused():
    for photometric in (0, 1):
        stream = io.BytesIO()
        image = Image.fromarray(np.array([[0, 0.25, 1]], np.float32))
        image.save(stream, "TIFF", tiffinfo={262: photometric})
        raw = bytearray(stream.getvalue())
        assert Image.open(io.BytesIO(raw)).mode == "F"
        if photometric:
            assert keeping(open_image(io.BytesIO(raw))).ravel().tolist() == [0, 64, 255]
        else:
            assert "with black as 0" in refuse(io.BytesIO(raw))


@pytest.mark.parametrize("pixels", [[-0.1, 1], [0, 255], [0, float("nan")], [0, float("inf")]])
def test_floats_of_an_unknown_scale_are_refused(pixels):
    image = Image.fromarray(np.array([pixels], np.float32))
    with pytest.raises(UnreadableImageError, match="allowed: 0 to 1 in floats"):
        keeping(image)


def test_integers_of_more_than_16_bits_are_refused():
    with pytest.raises(UnreadableImageError, match="pixels from 0 to 70000; allowed: 0 to 65535"):
        keeping(Image.fromarray(np.array([[0, 70000]], np.int32)))


@pytest.mark.parametrize(
    ("mode", "stored", "color"),
    [
        ("CMYK", (0, 255, 255, 0), (255, 0, 0)),
        ("YCbCr", (128, 128, 128), (128, 128, 128)),
        ("HSV", (85, 255, 255), (0, 255, 0)),
        ("LAB", (255, 128, 128), (255, 255, 255)),
        ("LAB", (0, 128, 128), (0, 0, 0)),
    ],
)
def test_other_colour_spaces_become_red_green_and_blue(mode, stored, color):
    pixels = keeping(Image.new(mode, (3, 2), stored), channels=3)
    np.testing.assert_allclose(pixels, np.broadcast_to(color, (2, 3, 3)), atol=2)


def test_colours_become_grey_as_itu_r_601_weighs_them():
    image = Image.new("RGB", (1, 1), (200, 100, 50))
    assert keeping(image).item() == round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)


@pytest.mark.parametrize("orientation", [*range(1, 9), 0, 9])
@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_image_is_turned_upright(image_format, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(random_image(0, "RGB", 8, 5), image_format, exif=exif)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    for image in (open_image(io.BytesIO(content)), opened_by_a_person(content)):
        np.testing.assert_array_equal(keeping_size_of(expected, image), np.asarray(expected))


def keeping_size_of(expected: Image.Image, image: Image.Image) -> np.ndarray:
    return prepare_image(image, how(expected.height, expected.width, 3))


def test_damaged_exif_data_turn_nothing():
    content = encoded(random_image(0, "RGB", 8, 5), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff")
    assert keeping(open_image(io.BytesIO(content)), 3).shape == (5, 8, 3)


@pytest.mark.parametrize("image_format", ["GIF", "PNG", "TIFF", "WEBP"])
def test_of_an_animation_the_first_frame_counts(image_format):
    frames = [Image.new("RGB", (3, 2), (level,) * 3) for level in (40, 250)]
    options = {"lossless": True} if image_format == "WEBP" else {}
    content = encoded(frames[0], image_format, save_all=True, append_images=frames[1:], **options)
    image = open_image(io.BytesIO(content))
    assert image.n_frames == 2
    assert set(keeping(image).ravel().tolist()) == {40}


def test_crop_keeps_the_middle():
    columns = np.repeat(np.array([[10, 20, 20, 10]], np.uint8), 2, axis=0)
    pixels = prepare_image(Image.fromarray(columns), how(2, 2, resize="crop"))
    assert pixels.ravel().tolist() == [20] * 4


def test_pad_fills_up_with_the_background():
    image = Image.new("L", (4, 2), 10)
    pixels = prepare_image(image, how(4, 4, resize="pad"))[..., 0]
    assert pixels.tolist() == [[200] * 4, [10] * 4, [10] * 4, [200] * 4]
    pixels = prepare_image(Image.new("RGB", (2, 4), (1, 2, 3)), how(4, 4, 3, resize="pad"))
    assert pixels[0].tolist() == [[200] * 3, [1, 2, 3], [1, 2, 3], [200] * 3]


def test_stretch_resizes_as_pillow_does():
    image = random_image(0, "RGB", 31, 17)
    pixels = prepare_image(image, how(6, 20, 3))
    expected = image.resize((20, 6), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(pixels, np.asarray(expected))


def png_of_size(width: int, height: int) -> bytes:
    """Return a PNG file that claims a size and has hardly any content."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + crc

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    start = b"\x89PNG\r\n\x1a\n"
    return start + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(9000, 9000), (13_000, 13_000), (60_000, 60_000)])
def test_decompression_bomb_is_refused_before_it_is_decoded(size):
    assert "pixels" in refuse(io.BytesIO(png_of_size(*size)))
    assert "80,000,000" in refuse(io.BytesIO(png_of_size(*size)))


@pytest.mark.parametrize("size", [(1_000_001, 1), (60_000_000, 1), (1, 80_000_000)])
def test_long_side_is_refused_before_it_is_decoded(size):
    assert "a side may have at most 1,000,000" in refuse(io.BytesIO(png_of_size(*size)))


def test_longest_side_is_read():
    image = open_image(io.BytesIO(encoded(Image.new("L", (1_000_000, 1), 7), "PNG")))
    assert (prepare_image(image, how(2, 3, resize="stretch")) == 7).all()


def test_large_file_is_refused(monkeypatch):
    monkeypatch.setattr(module, "MAX_FILE_BYTES", 100)
    assert refuse(io.BytesIO(bytes(101))) == "more than 100 bytes"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (
            b"label,file\n1,a.png\n",
            "no image, damaged at its start, or of a kind that is not read; allowed: PNG",
        ),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "no image"),
        (encoded(random_image(0, "RGB", 4, 4), "PPM"), "no image"),  # a format that is not read
    ],
    ids=["empty", "text", "svg", "ppm"],
)
def test_other_files_are_refused(tmp_path, content, reason):
    path = tmp_path / "file"
    path.write_bytes(content)
    assert refuse(path).startswith(reason)
    assert refuse(str(path)).startswith(reason)


def test_what_is_no_file_is_refused(tmp_path):
    assert refuse(tmp_path / "missing.png") == "not there"
    assert refuse(tmp_path) == "not a file"
    os.mkfifo(tmp_path / "pipe")  # opening it would wait for ever
    assert refuse(tmp_path / "pipe") == "not a file"


def test_file_that_cannot_be_sought_is_read():
    reader, writer = os.pipe()
    image = random_image(0, "L", 5, 4)
    os.write(writer, encoded(image))
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        np.testing.assert_array_equal(keeping(open_image(file))[..., 0], np.asarray(image))
