"""What is drawn on a frame: boxes, labels, bars, the valence-arousal plane, faces of emotions, lines of text.

Pictures are BGR (H x W x 3, uint8), as OpenCV writes and shows them, and are drawn on in place. It knows no file and no
window.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from ferflow.inference import FacePrediction
from ferflow.sprites import paste
from ferflow.streaming import TrackedFace

Colour = tuple[int, int, int]
COLOURS: dict[str, Colour] = {
    "neutral": (200, 200, 200),
    "happy": (60, 210, 255),
    "sad": (235, 150, 60),
    "surprise": (80, 220, 240),
    "fear": (210, 100, 190),
    "disgust": (90, 190, 90),
    "anger": (70, 80, 240),
    "contempt": (110, 150, 190),
}
_UNSURE, _WHITE, _BLACK = (150, 150, 150), (255, 255, 255), (0, 0, 0)
_FONT, _LINE = cv2.FONT_HERSHEY_SIMPLEX, cv2.LINE_AA


@dataclass(frozen=True)
class Look:
    """What is shown: probability ``bars`` of the three likeliest expressions, the ``plane`` of valence and arousal, ``emoji``."""

    bars: bool = True
    plane: bool = True
    emoji: bool = True


def draw(picture: np.ndarray, faces: Sequence[TrackedFace[FacePrediction]], look: Look | None = None) -> None:
    """Draw every face: its box, what it expresses or "uncertain", and what ``look`` asks for."""
    look = look or Look()
    for one in faces:
        _draw_face(picture, one.track, one.face, look)
    if look.plane:
        points = [(one.face.valence, one.face.arousal, _colour(one.face)) for one in faces]
        _draw_plane(picture, [(v, a, colour) for v, a, colour in points if v is not None and a is not None])


def lines(picture: np.ndarray, texts: Sequence[str], bottom: bool = False) -> None:
    """Lines of white text on dark ground, at the top left or the bottom left."""
    scale = _scale(picture)
    height = round(30 * scale)
    start = picture.shape[0] - height * len(texts) if bottom else 0
    for place, words in enumerate(texts):
        _text(picture, words, (round(6 * scale), start + height * place), 0.6 * scale)


def label(face: FacePrediction) -> str:
    """What stands above a box."""
    if face.expression is None or face.confidence is None:
        return "face"
    return f"{face.expression} {face.confidence:.0%}" if face.certain else f"uncertain ({face.expression}?)"


def _colour(face: FacePrediction) -> Colour:
    return COLOURS[face.expression] if face.expression and face.certain else _UNSURE


def _dim(colour: Colour) -> Colour:
    """Dark enough for white letters."""
    blue, green, red = (value * 3 // 5 for value in colour)
    return blue, green, red


def _scale(picture: np.ndarray) -> float:
    """1 for a frame 640 pixels wide."""
    return float(np.clip(max(picture.shape[:2]) / 640, 0.7, 4))


def _draw_face(picture: np.ndarray, track: int, face: FacePrediction, look: Look) -> None:
    scale, colour = _scale(picture), _colour(face)
    left, top, right, bottom = (round(value) for value in face.box_xyxy)
    cv2.rectangle(picture, (left, top), (right, bottom), colour, max(1, round(2 * scale)))
    _text(picture, f"{track}: {label(face)}", (left, top), 0.5 * scale, above=True)
    if look.bars:
        _draw_bars(picture, face, (left, bottom + round(3 * scale)), scale)
    if look.emoji and face.expression and face.certain:
        side = int(np.clip((right - left) * 0.4, 32, 96)) // 8 * 8  # few sizes: each is drawn once
        beside = right + 3 if right + 3 + side <= picture.shape[1] else left - 3 - side
        paste(picture, face.expression, beside if beside >= 0 else right - side, max(top, 0), side)


def _draw_bars(picture: np.ndarray, face: FacePrediction, corner: tuple[int, int], scale: float) -> None:
    width, step = round(110 * scale), round(16 * scale)
    left = int(np.clip(corner[0], 0, max(0, picture.shape[1] - width)))
    top = min(corner[1], picture.shape[0] - step * len(face.top3))
    for place, (name, share) in enumerate(face.top3):
        y = top + place * step
        _darken(picture, left, y, left + width, y + step)
        cv2.rectangle(picture, (left, y + 2), (left + round(width * share), y + step - 2), _dim(COLOURS[name]), -1)
        _letters(picture, f"{name} {share:.0%}", (left + 3, y + round(12 * scale)), 0.38 * scale)


def _draw_plane(picture: np.ndarray, points: Sequence[tuple[float, float, Colour]]) -> None:
    """Valence to the right, arousal up, both from -1 to 1; a dot a face."""
    scale = _scale(picture)
    side = round(96 * scale)
    right, top = picture.shape[1] - round(6 * scale), round(6 * scale)
    left, bottom = right - side, top + side
    if left < 0 or bottom > picture.shape[0]:
        return
    _darken(picture, left, top, right, bottom)
    centre = ((left + right) // 2, (top + bottom) // 2)
    cv2.circle(picture, centre, side // 2 - 2, _UNSURE, 1, _LINE)
    cv2.line(picture, (left, centre[1]), (right, centre[1]), _UNSURE, 1)
    cv2.line(picture, (centre[0], top), (centre[0], bottom), _UNSURE, 1)
    _letters(picture, "arousal", (centre[0] + 3, top + round(10 * scale)), 0.32 * scale)
    _letters(picture, "valence", (right - round(40 * scale), centre[1] - 3), 0.32 * scale)
    for valence, arousal, colour in points:
        x = round(centre[0] + float(np.clip(valence, -1, 1)) * side / 2)
        y = round(centre[1] - float(np.clip(arousal, -1, 1)) * side / 2)
        cv2.circle(picture, (x, y), max(3, round(5 * scale)), colour, -1, _LINE)
        cv2.circle(picture, (x, y), max(3, round(5 * scale)), _WHITE, 1, _LINE)


def _darken(picture: np.ndarray, left: int, top: int, right: int, bottom: int) -> None:
    part = picture[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    part[:] = part // 3


def _text(picture: np.ndarray, words: str, corner: tuple[int, int], size: float, above: bool = False) -> None:
    """Text on dark ground from this corner down (or up), kept inside the picture."""
    (width, height), base = cv2.getTextSize(words, _FONT, size, 1)
    tall = height + base + 4
    left = int(np.clip(corner[0], 0, max(0, picture.shape[1] - width - 4)))
    top = int(np.clip(corner[1] - (tall if above else 0), 0, max(0, picture.shape[0] - tall)))
    _darken(picture, left, top, left + width + 4, top + tall)
    _letters(picture, words, (left + 2, top + height + 2), size)


def _letters(picture: np.ndarray, words: str, start: tuple[int, int], size: float) -> None:
    cv2.putText(picture, words, start, _FONT, size, _WHITE, max(1, round(1.4 * size)), _LINE)
