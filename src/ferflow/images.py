"""Bytes to pixels and back, for every part of the system: one way to decode, to resize and to encode.

Pixels are RGB (or grey with one channel), uint8, height x width x channels. A header is read before
a picture is decoded, so that a small file cannot ask for a gigabyte. It knows no dataset and no model.
"""

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

MAX_PIXELS = 50_000_000
_JPEG, _START_OF_SCAN, _END_OF_IMAGE = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"  # decoders fill up what is missing with grey


ImageLike = np.ndarray | Image.Image | bytes | str | Path


class ImageError(ValueError):
    """Bytes that are not a picture that can be used; the message says what is wrong with them."""


@dataclass(frozen=True)
class Picture:
    """Pixels (H x W x 3, RGB, uint8), and what was done to get them that a person would want to know (first page of 3)."""

    rgb: np.ndarray
    notes: tuple[str, ...] = ()


def image_size(data: bytes) -> tuple[int, int]:
    """Width and height in pixels, from the header alone; ``ImageError`` if it is no picture."""
    try:
        with Image.open(BytesIO(data)) as picture:
            return picture.size
    except Image.DecompressionBombError as error:
        raise ImageError(f"the image is too large: {error}") from error
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        reason = "it is empty" if not data else "its header is that of no known image format"
        raise ImageError(f"not an image: {reason} ({len(data)} bytes)") from error


def decode(data: bytes, *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Decode a picture to H x W x 3 (RGB, uint8), EXIF rotation applied.

    Raises ``ImageError`` for anything that is not a whole picture or has more than ``max_pixels`` pixels.
    """
    width, height = image_size(data)
    if width * height > max_pixels:
        raise ImageError(f"the image has {width} x {height} pixels; at most {max_pixels} are accepted")
    if data.startswith(_JPEG) and data.rfind(_END_OF_IMAGE) < data.rfind(_START_OF_SCAN):
        raise ImageError(f"the image is cut off: {len(data)} bytes, and the JPEG's end is not among them")
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    if pixels is None:
        raise ImageError(f"the image is damaged: its header says {width} x {height}, but it cannot be decoded")
    return np.asarray(pixels)


def read(image: ImageLike, *, max_pixels: int = MAX_PIXELS) -> Picture:
    """A picture from pixels, a PIL image, bytes or a path. Raises ``ImageError`` that names the path, where there is one."""
    if isinstance(image, np.ndarray):
        return Picture(_as_rgb(image))
    if isinstance(image, Image.Image):
        return Picture(np.asarray(image.convert("RGB")))
    if isinstance(image, bytes):
        return Picture(decode(image, max_pixels=max_pixels))
    path = Path(image)
    try:
        return Picture(decode(path.read_bytes(), max_pixels=max_pixels))
    except OSError as error:
        raise ImageError(f"{path}: {error.strerror or error}") from error
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from error


def _as_rgb(pixels: np.ndarray) -> np.ndarray:
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if pixels.dtype != np.uint8 or pixels.size == 0 or not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 3)):
        raise ImageError(f"pixels must be uint8, H x W x 3 (RGB) or H x W; these are {pixels.dtype} {pixels.shape}")
    return np.ascontiguousarray(pixels) if pixels.ndim == 3 else cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB)


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
    return {
        "brightness": float(gray.mean()),
        "contrast": float(gray.std()),
        "sharpness": float(cv2.Laplacian(gray, cv2.CV_32F).var()),
    }
