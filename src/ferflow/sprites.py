"""Small yellow faces, one an expression, drawn by OpenCV: no font of colour emoji is needed. It knows no video and no model."""

from functools import lru_cache

import cv2
import numpy as np

from ferflow.vocabulary import EXPRESSIONS

_CANVAS = 256  # drawn at this size, and scaled down: smooth edges
_INK = (30, 45, 80)
_SKIN, _EDGE = (60, 205, 255), (20, 140, 225)
_WHITE, _BLUE, _GREEN, _RED = (255, 255, 255), (235, 170, 60), (80, 190, 110), (60, 110, 245)
_THICK = 13
_SHIFT = 4
Point = tuple[float, float]


@lru_cache(maxsize=256)
def sprite(expression: str, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The face of an expression: BGR pixels (size x size x 3, uint8) and their cover (size x size x 1, float32, 0 to 1).

    Do not write into them: they are kept. ``ValueError`` for an expression without a drawing.
    """
    if expression not in _DRAWN:
        raise ValueError(f"no face is drawn for {expression!r}; known: {', '.join(_DRAWN)}")
    canvas = np.full((_CANVAS, _CANVAS, 3), _EDGE, np.uint8)
    _disc(canvas, (0, 0), 0.97, _EDGE)
    _disc(canvas, (0, 0), 0.90, _TINT.get(expression, _SKIN))
    _DRAWN[expression](canvas)
    cover = np.zeros((_CANVAS, _CANVAS), np.float32)
    cv2.circle(cover, (_CANVAS // 2, _CANVAS // 2), _CANVAS // 2 - 4, 1.0, -1, cv2.LINE_AA)
    small = (size, size)
    return cv2.resize(canvas, small, interpolation=cv2.INTER_AREA), cv2.resize(cover, small, interpolation=cv2.INTER_AREA)[
        ..., None
    ]


def paste(picture: np.ndarray, expression: str, left: int, top: int, size: int) -> None:
    """Put the face of an expression on a picture (H x W x 3, BGR, uint8), in place; what lies beyond the edge is cut off."""
    height, width = picture.shape[:2]
    x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + size, width), min(top + size, height)
    if x0 >= x1 or y0 >= y1:
        return
    pixels, cover = sprite(expression, size)
    part = np.s_[y0 - top : y1 - top, x0 - left : x1 - left]
    under = picture[y0:y1, x0:x1]
    under[:] = under + (pixels[part] - under.astype(np.float32)) * cover[part]


def _at(xy: Point) -> tuple[int, int]:
    """Face coordinates (-1 to 1, y down) to fixed-point pixels."""
    return round((xy[0] + 1) * _CANVAS / 2 * 2**_SHIFT), round((xy[1] + 1) * _CANVAS / 2 * 2**_SHIFT)


def _disc(canvas: np.ndarray, xy: Point, radius: float, colour: tuple[int, int, int] = _INK) -> None:
    cv2.circle(canvas, _at(xy), round(radius * _CANVAS / 2 * 2**_SHIFT), colour, -1, cv2.LINE_AA, _SHIFT)


def _oval(canvas: np.ndarray, xy: Point, radii: Point, colour: tuple[int, int, int] = _INK) -> None:
    axes = tuple(round(radius * _CANVAS / 2 * 2**_SHIFT) for radius in radii)
    cv2.ellipse(canvas, _at(xy), axes, 0, 0, 360, colour, -1, cv2.LINE_AA, _SHIFT)


def _stroke(canvas: np.ndarray, *points: Point, thick: int = _THICK, colour: tuple[int, int, int] = _INK) -> None:
    """A line through three points as a smooth curve (Bézier, the second pulls), through others straight."""
    line = np.array(points)
    if len(points) == 3:
        t = np.linspace(0, 1, 25)[:, None]
        line = (1 - t) ** 2 * line[0] + 2 * t * (1 - t) * line[1] + t**2 * line[2]
    pixels = np.array([_at((x, y)) for x, y in line], np.int32)
    cv2.polylines(canvas, [pixels], False, colour, thick, cv2.LINE_AA, _SHIFT)


def _area(canvas: np.ndarray, points: list[Point], colour: tuple[int, int, int] = _INK) -> None:
    cv2.fillPoly(canvas, [np.array([_at(point) for point in points], np.int32)], colour, cv2.LINE_AA, _SHIFT)


def _eyes(canvas: np.ndarray, width: float = 0.11, height: float = 0.16, y: float = -0.2) -> None:
    for side in (-1, 1):
        _oval(canvas, (side * 0.34, y), (width, height))


def _wide_eyes(canvas: np.ndarray, white: float, pupil: float, y: float = -0.2) -> None:
    for side in (-1, 1):
        _disc(canvas, (side * 0.36, y), white + 0.04)
        _disc(canvas, (side * 0.36, y), white, _WHITE)
        _disc(canvas, (side * 0.36, y), pupil)


def _brows(canvas: np.ndarray, inner: float, outer: float, thick: int = _THICK) -> None:
    """Brows whose inner and outer ends lie at these heights."""
    for side in (-1, 1):
        _stroke(canvas, (side * 0.14, inner), (side * 0.6, outer), thick=thick)


def _neutral(canvas: np.ndarray) -> None:
    _eyes(canvas)
    _stroke(canvas, (-0.38, 0.42), (0.38, 0.42))


def _happy(canvas: np.ndarray) -> None:
    for side in (-1, 1):
        _stroke(canvas, (side * 0.34 - 0.17, -0.12), (side * 0.34, -0.45), (side * 0.34 + 0.17, -0.12))
    angles = np.linspace(0, np.pi, 25)
    _area(canvas, [(0.58 * float(np.cos(a)), 0.12 + 0.6 * float(np.sin(a))) for a in angles])
    _area(canvas, [(-0.5, 0.14), (0.5, 0.14), (0.46, 0.3), (-0.46, 0.3)], _WHITE)


def _sad(canvas: np.ndarray) -> None:
    _brows(canvas, -0.55, -0.38)
    _eyes(canvas, y=-0.14)
    _stroke(canvas, (-0.36, 0.58), (0, 0.2), (0.36, 0.58))
    _area(canvas, [(-0.5, 0.02), (-0.64, 0.34), (-0.36, 0.34)], _BLUE)
    _disc(canvas, (-0.5, 0.38), 0.15, _BLUE)


def _surprise(canvas: np.ndarray) -> None:
    for side in (-1, 1):
        _stroke(canvas, (side * 0.18, -0.56), (side * 0.38, -0.78), (side * 0.58, -0.52))
    _eyes(canvas, 0.13, 0.15)
    _oval(canvas, (0, 0.46), (0.24, 0.32))


def _fear(canvas: np.ndarray) -> None:
    _area(canvas, [(-0.66, -0.62), (0.66, -0.62), (0.9, -0.05), (-0.9, -0.05)], _BLUE)
    canvas[:] = cv2.GaussianBlur(canvas, (0, 0), 7)
    _wide_eyes(canvas, 0.22, 0.07, -0.12)
    for side in (-1, 1):
        _stroke(canvas, (side * 0.16, -0.6), (side * 0.62, -0.42))
    wave = [(x, 0.5 + 0.09 * (-1) ** i) for i, x in enumerate(np.linspace(-0.44, 0.44, 7))]
    _stroke(canvas, *wave)


def _disgust(canvas: np.ndarray) -> None:
    for side in (-1, 1):
        _stroke(canvas, (side * 0.52, -0.32), (side * 0.22, -0.16))
        _stroke(canvas, (side * 0.22, -0.16), (side * 0.52, -0.04))
    _stroke(canvas, (-0.44, 0.46), (0, 0.14), (0.44, 0.46))
    _area(canvas, [(0.0, 0.36), (0.32, 0.38), (0.3, 0.66), (0.02, 0.66)], _RED)
    _oval(canvas, (0.16, 0.66), (0.14, 0.14), _RED)


def _anger(canvas: np.ndarray) -> None:
    _brows(canvas, -0.24, -0.56, thick=_THICK + 5)
    _eyes(canvas, 0.1, 0.12, -0.08)
    _stroke(canvas, (-0.38, 0.56), (0, 0.28), (0.38, 0.56))


def _contempt(canvas: np.ndarray) -> None:
    for side in (-1, 1):
        _disc(canvas, (side * 0.36, -0.14), 0.2, _WHITE)
        _disc(canvas, (side * 0.36 + 0.1, -0.1), 0.1)
        _area(
            canvas,
            [(side * 0.36 - 0.24, -0.4), (side * 0.36 + 0.24, -0.4), (side * 0.36 + 0.24, -0.16), (side * 0.36 - 0.24, -0.16)],
            _SKIN,
        )
        _stroke(canvas, (side * 0.36 - 0.22, -0.15), (side * 0.36 + 0.22, -0.15))
    _stroke(canvas, (-0.34, -0.42), (-0.6, -0.4))
    _stroke(canvas, (0.14, -0.5), (0.4, -0.74), (0.62, -0.5))
    _stroke(canvas, (-0.34, 0.46), (0.16, 0.5), (0.44, 0.24))


_TINT = {"disgust": _GREEN, "anger": _RED}
_DRAWN = {
    "neutral": _neutral,
    "happy": _happy,
    "sad": _sad,
    "surprise": _surprise,
    "fear": _fear,
    "disgust": _disgust,
    "anger": _anger,
    "contempt": _contempt,
}
assert set(_DRAWN) == set(EXPRESSIONS)
