"""Which kind of picture some bytes are, and every kind that is not plain: through Pillow to 8-bit RGB, with what was done.

Not plain is what has more than 8 bits, four inks, a palette, something to see through, or several pages. Nothing is decoded
before its size was looked at. It knows no dataset and no model.
"""

from contextlib import suppress
from io import BytesIO

import numpy as np
from PIL import Image

_PLAIN, _PLAIN_MAGIC = ("JPEG", "PNG"), (b"\xff\xd8", b"\x89PNG\r\n\x1a\n")
_OTHERS = ("GIF", "BMP", "WEBP", "TIFF", "AVIF", "PPM", "JPEG2000")  # no format whose reader runs another program
_BIT_DEPTH = 24  # where a PNG says it
_ALPHA = ("RGBA", "LA", "PA", "RGBa", "La")
_WIDE = ("I;16", "I;16B", "I;16L", "I;16N")
_KNOWN = ("1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", *_ALPHA)
_PAGED = ("TIFF", "MPO")
_TIFF_BITS = 258
_REFUSED = {  # bytes -> what they are; where they start
    b"%PDF": ("a PDF", 0),
    b"<svg": ("an SVG drawing", 0),
    b"8BPS": ("a Photoshop file", 0),
    b"ftyphei": ("HEIC", 4),
    b"ftyphev": ("HEIC", 4),
    b"ftypmif1": ("HEIC or HEIF", 4),
    b"ftypmsf1": ("HEIC or HEIF", 4),
    b"ftyp": ("a video", 4),
    b"II*\0": ("a TIFF of a kind that is not read (floating point, many channels or a rare compression)", 0),
    b"MM\0*": ("a TIFF of a kind that is not read (floating point, many channels or a rare compression)", 0),
}


class ImageError(ValueError):
    """Bytes that are not a picture that can be used; the message says what is wrong with them."""


def header(data: bytes) -> Image.Image:
    """The picture, not decoded yet: size, mode and number of pages. ``ImageError`` if it is none."""
    try:
        return Image.open(BytesIO(data), formats=_PLAIN if data.startswith(_PLAIN_MAGIC) else _others())
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(f"the image is too large: {error}") from error
    except Exception as error:  # what a damaged header makes Pillow raise has no common base
        raise ImageError(f"not an image: {_reason(data)} ({len(data)} bytes)") from error


def _others() -> list[str]:
    Image.init()  # loads what Pillow has beyond the commonest
    return [name for name in _OTHERS if name in Image.OPEN]


def _reason(data: bytes) -> str:
    if not data:
        return "it is empty"
    if data.startswith(_PLAIN_MAGIC):
        return "it begins as a JPEG or PNG, but its header is damaged or cut off"
    for magic, (name, start) in _REFUSED.items():
        if data.startswith(magic, start):
            return f"it is {name}; save it as JPEG or PNG"
    return "its header is that of no known image format"


def check_size(size_wh: tuple[int, int], max_pixels: int) -> None:
    """Raise ``ImageError`` for a picture of more than ``max_pixels`` pixels, or of none."""
    width, height = size_wh
    if width * height > max_pixels:
        raise ImageError(f"the image has {width} x {height} pixels; at most {max_pixels} are accepted: make it smaller")
    if width < 1 or height < 1:
        raise ImageError(f"the image has {width} x {height} pixels")


def is_plain(picture: Image.Image, data: bytes) -> bool:
    """Whether it is an 8-bit JPEG or PNG, grey or RGB, not animated and with nothing to see through."""
    if picture.mode not in ("RGB", "L"):
        return False
    if picture.format == "PNG":
        return data[_BIT_DEPTH] == 8 and "transparency" not in picture.info and "loop" not in picture.info  # loop: animated
    return picture.format in ("JPEG", "MPO")  # MPO: JPEGs one after the other, of which the first is read


def convert(picture: Image.Image, data: bytes = b"") -> tuple[np.ndarray, tuple[str, ...]]:
    """Pixels (H x W x 3, RGB, uint8), EXIF rotation applied, and notes on what was done; ``data``: the file's bytes.

    The size must have been checked. Raises ``ImageError`` for a damaged picture, and for values without a known range.
    """
    try:
        notes = page_note(picture)
        picture.load()
        notes += _depth_and_inks(picture, data)
        rgb, see_through = _rgb(picture)
        return np.ascontiguousarray(rgb), (*notes, *(["transparent: laid over white"] if see_through else []))
    except ImageError:
        raise
    except Exception as error:  # as above: OSError, SyntaxError, struct.error, zlib.error, ...
        width, height = picture.size
        raise ImageError(f"the image is damaged or cut off: its header says {width} x {height}, but {error}") from error


def page_note(picture: Image.Image) -> list[str]:
    """Which of several pages or frames it is; nothing for a picture that has one."""
    pages = getattr(picture, "n_frames", 1)
    if pages <= 1:
        return []
    page, unit = picture.tell() + 1, "pages" if picture.format in _PAGED else "frames"
    return [f"{'first' if page == 1 else f'number {page}'} of {pages} {unit}"]


def _depth_and_inks(picture: Image.Image, data: bytes) -> list[str]:
    notes = ["16 bit: the upper 8 are used"] if picture.mode in _WIDE or _has_16_bits(picture, data) else []
    return notes + (["converted from CMYK without a colour profile"] if picture.mode == "CMYK" else [])


def _has_16_bits(picture: Image.Image, data: bytes) -> bool:
    if picture.format == "PNG":
        return len(data) > _BIT_DEPTH and data[_BIT_DEPTH] == 16
    return (picture.format == "PPM" and picture.mode == "I") or 16 in getattr(picture, "tag_v2", {}).get(_TIFF_BITS, ())


def _rgb(picture: Image.Image) -> tuple[np.ndarray, bool]:
    """Pixels, and whether something could be seen through."""
    mode = picture.mode
    if mode in _WIDE or (mode == "I" and picture.format == "PPM"):
        upper = (np.asarray(_turned(picture)).astype(np.uint32) >> 8).clip(0, 255).astype(np.uint8)  # as OpenCV does
        return np.repeat(upper[:, :, None], 3, axis=2), False
    if mode not in _KNOWN:
        kind = {"F": "floating point", "I": "32-bit integers"}.get(mode, f"colours of the kind {mode}")
        raise ImageError(f"the image has values whose range is not known ({kind}); save it with 8 or 16 bits")
    if mode == "CMYK" and picture.format == "JPEG" and "adobe" not in picture.info:
        picture = _inverted(picture)  # Adobe writes inks upside down; Pillow takes every JPEG for Adobe's
    return over_white(_turned(picture))


def over_white(picture: Image.Image) -> tuple[np.ndarray, bool]:
    """Pixels over a white ground, and whether the ground shows anywhere."""
    if picture.mode in _ALPHA or "transparency" in picture.info:
        colours = picture.convert("RGBA")
        if colours.getchannel("A").getextrema()[0] != 255:
            white = Image.new("RGBA", colours.size, "white")
            return np.asarray(Image.alpha_composite(white, colours).convert("RGB")), True
    return np.asarray(picture.convert("RGB")), False


def _turned(picture: Image.Image) -> Image.Image:
    from PIL import ImageOps  # plain pictures do without it

    with suppress(Exception):  # a broken EXIF block says nothing of the pixels
        return ImageOps.exif_transpose(picture)
    return picture


def _inverted(picture: Image.Image) -> Image.Image:
    inverted = Image.merge("CMYK", [ink.point(lambda value: 255 - value) for ink in picture.split()])
    inverted.info = picture.info
    return inverted
