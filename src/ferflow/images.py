"""Bytes to pixels and back, for every part of the system: one way to decode, to resize and to encode.

Pixels are RGB (or grey with one channel), uint8, height x width x channels. A header is read before
a picture is decoded, so that a small file cannot ask for a gigabyte. Plain JPEG and PNG are decoded by OpenCV,
everything else by ``formats``. It knows no dataset and no model.
"""

from dataclasses import dataclass
from pathlib import Path
from struct import Struct

import cv2
import numpy as np
from PIL import Image

from ferflow.formats import ImageError as ImageError
from ferflow.formats import check_size, convert, header, is_plain, over_white, page_note

MAX_BYTES = 512_000_000
MAX_PIXELS = 50_000_000
_JPEG, _START_OF_SCAN, _END_OF_IMAGE = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"  # decoders fill up what is missing with grey
_PNG_CHUNK = Struct(">I4s")  # length, kind; a checksum follows the content

ImageLike = np.ndarray | Image.Image | bytes | str | Path


@dataclass(frozen=True)
class Picture:
    """Pixels (H x W x 3, RGB, uint8), and what was done to get them that a person would want to know (first page of 3)."""

    rgb: np.ndarray
    notes: tuple[str, ...] = ()


def image_size(data: bytes) -> tuple[int, int]:
    """Width and height in pixels, from the header alone; ``ImageError`` if it is no picture."""
    with header(data) as picture:
        return picture.size


def decode(data: bytes, *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Decode a picture to H x W x 3 (RGB, uint8), EXIF rotation applied; of several pages the first.

    Raises ``ImageError`` for anything that is not a whole picture or has more than ``max_pixels`` pixels.
    """
    with header(data) as picture:
        check_size(picture.size, max_pixels)
        return _plain(data, picture.size) if is_plain(picture, data) else convert(picture, data)[0]


def _decoded(data: bytes, max_pixels: int) -> Picture:
    with header(data) as picture:
        check_size(picture.size, max_pixels)
        if is_plain(picture, data):
            return Picture(_plain(data, picture.size), tuple(page_note(picture)))
        return Picture(*convert(picture, data))


def _plain(data: bytes, size_wh: tuple[int, int]) -> np.ndarray:
    if data.startswith(_JPEG):
        if data.find(_END_OF_IMAGE, _scan(data)) < 0:
            raise ImageError(f"the image is cut off: {len(data)} bytes, and the JPEG's end is not among them")
    elif not _has_end(data):
        raise ImageError(f"the image is cut off: {len(data)} bytes, and the PNG's end is not among them")
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    except cv2.error:  # a side of more than a million pixels
        pixels = None
    if pixels is None or pixels.shape[0] * pixels.shape[1] != size_wh[0] * size_wh[1]:
        width, height = size_wh
        raise ImageError(f"the image is damaged or cut off: its header says {width} x {height}, but it cannot be decoded")
    return np.asarray(pixels)


def _scan(jpeg: bytes) -> int:
    """Where the picture's own scan begins, past its segments: thumbnails in them have ends, too, and so has what follows."""
    place = 2
    while place + 4 <= len(jpeg) and jpeg[place] == 0xFF:
        marker = jpeg[place + 1]
        if marker == _START_OF_SCAN[1]:
            return place
        alone = marker == 0x01 or 0xD0 <= marker <= 0xD7
        place += 1 if marker == 0xFF else 2 if alone else 2 + int.from_bytes(jpeg[place + 2 : place + 4], "big")
    return max(0, jpeg.rfind(_START_OF_SCAN))  # segments that do not follow each other: the decoder will say


def _has_end(png: bytes) -> bool:
    """Whether its chunks follow each other to the last: OpenCV takes the memory of a chunk before it reads it, up to 4 GB."""
    place = 8
    while place + 12 <= len(png):
        length, kind = _PNG_CHUNK.unpack_from(png, place)
        if kind == b"IEND":
            return True
        place += 12 + length
    return False


def read(image: ImageLike, *, max_pixels: int = MAX_PIXELS) -> Picture:
    """A picture from pixels, a PIL image, bytes or a path. Raises ``ImageError`` that names the path, where there is one.

    Pixels are uint8, H x W x 3 (RGB), H x W x 4 (RGBA), H x W x 1 or H x W (grey).
    """
    if isinstance(image, np.ndarray):
        return _from_array(image, max_pixels)
    if isinstance(image, Image.Image):
        check_size(image.size, max_pixels)
        return Picture(*convert(image))
    if isinstance(image, bytes | bytearray | memoryview):
        return _decoded(bytes(image), max_pixels)
    if not isinstance(image, str | Path):
        raise ImageError(f"a picture is an array, a PIL image, bytes or a path; this is {type(image).__name__}")
    try:
        if (size := Path(image).stat().st_size) > MAX_BYTES:
            raise ImageError(f"the file has {size / 1e6:,.0f} MB; at most {MAX_BYTES / 1e6:,.0f} are read")
        return _decoded(Path(image).read_bytes(), max_pixels)
    except MemoryError as error:
        raise ImageError(f"{image}: there is not enough memory for it") from error
    except OSError as error:
        raise ImageError(f"{image}: {error.strerror or error}") from error
    except ValueError as error:  # ImageError, or a path that cannot be one
        raise ImageError(f"{image}: {error}") from error


def _from_array(pixels: np.ndarray, max_pixels: int) -> Picture:
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or channels not in (1, 3, 4) or pixels.size == 0:
        raise ImageError(
            f"pixels must be uint8, H x W x 3 (RGB), H x W x 4 (RGBA) or H x W; these are {pixels.dtype} {pixels.shape}"
            + _array_hint(pixels)
        )
    check_size((pixels.shape[1], pixels.shape[0]), max_pixels)
    if channels == 4:
        rgb, see_through = over_white(Image.fromarray(np.ascontiguousarray(pixels), "RGBA"))
        return Picture(np.ascontiguousarray(rgb), ("transparent: laid over white",) if see_through else ())
    if channels == 3:
        return Picture(np.ascontiguousarray(pixels))
    return Picture(cv2.cvtColor(np.ascontiguousarray(pixels.reshape(pixels.shape[:2])), cv2.COLOR_GRAY2RGB))


def _array_hint(pixels: np.ndarray) -> str:
    if pixels.size == 0 or pixels.ndim not in (2, 3):
        return ". Give one picture at a time" if pixels.ndim == 4 else ""
    if pixels.dtype.kind == "f":
        return ". Values from 0 to 1: (pixels * 255).round().astype(np.uint8)"
    if pixels.dtype == np.uint16:
        return ". The upper 8 bits: (pixels >> 8).astype(np.uint8)"
    if pixels.dtype == np.uint8 and pixels.shape[0] in (1, 3, 4):
        return ". Channels come last: pixels.transpose(1, 2, 0)"
    return ""


def to_gray(rgb: np.ndarray) -> np.ndarray:
    """H x W x 3 to H x W x 1 (uint8): BT.601 luma in whole levels, the very numbers of the networks' preprocessing."""
    return cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)[:, :, None]


def resize(pixels: np.ndarray, size: int) -> np.ndarray:
    """The picture (H x W x C, uint8) as ``size`` x ``size`` x C; the same bytes if it has that size already."""
    if pixels.shape[:2] == (size, size):
        return pixels
    shrinks = max(pixels.shape[:2]) > size
    resized = cv2.resize(pixels, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return np.asarray(resized.reshape(size, size, pixels.shape[2]))


def encode_png(pixels: np.ndarray) -> bytes:
    """Lossless PNG bytes of RGB or grey pixels (H x W x 3, H x W x 1 or H x W, uint8)."""
    colour = pixels.ndim == 3 and pixels.shape[2] == 3
    done, buffer = cv2.imencode(".png", pixels[:, :, ::-1] if colour else pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not done:
        raise ImageError(f"pixels of shape {pixels.shape} cannot be encoded")
    return bytes(buffer)


def image_statistics(gray: np.ndarray) -> dict[str, float]:
    """Brightness, contrast and sharpness of a grey image (H x W, uint8), as validation and live rows report them."""
    mean, deviation = cv2.meanStdDev(gray)
    _, edges = cv2.meanStdDev(cv2.Laplacian(gray, cv2.CV_32F))
    return {"brightness": mean.item(), "contrast": deviation.item(), "sharpness": edges.item() ** 2}
