"""Which faces of a picture are looked at, and how they are cut out: a detector with its settings. It knows no model."""

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from ferflow import assets
from ferflow.detectors import Detection, Detector, asset, shrink
from ferflow.images import resize
from ferflow.registry import get

_EYES_APART, _EYES_DOWN = 0.42, 0.40  # where the eyes lie in an aligned crop without a margin, shares of its side
_LARGEST_CROP = 2048  # pixels; a larger one is scaled down before what it lacks at the edge is made up
_WILD = 3  # a box so many times longer than the picture is no face


@dataclass(frozen=True)
class Finding:
    """How faces are found.

    ``detector`` is a registered name, or ``auto``: YuNet where its file is, else Haar. ``files`` maps a detector to its
    model's file, where that is not where ``ferflow assets`` puts it. ``threshold`` is the least detection score (None: the
    detector's own), ``min_size`` the least side of a box in pixels, ``margin`` what is added on every side, a share of the
    box's longer side. ``align`` turns a face until its eyes are level, where the detector gives eyes. ``largest`` keeps the
    largest face alone, ``max_faces`` the best so many. ``longest_side`` scales larger pictures down before the detector sees
    them: faster, and small faces are lost (None: as the detector does itself). Raises ``ValueError`` for values that make
    no sense.
    """

    detector: str = "auto"
    files: tuple[tuple[str, Path], ...] = ()
    threshold: float | None = None
    min_size: int = 0
    margin: float = 0.1
    align: bool = False
    largest: bool = False
    max_faces: int = 100
    longest_side: int | None = None

    def __post_init__(self) -> None:
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold must be between 0 and 1; it is {self.threshold}")
        if self.min_size < 0 or not 0 <= self.margin <= 1 or self.max_faces < 1:
            raise ValueError(
                "min_size must be 0 or more, margin between 0 and 1 and max_faces at least 1; they are "
                f"{self.min_size}, {self.margin} and {self.max_faces}"
            )
        if self.longest_side is not None and self.longest_side < 32:
            raise ValueError(f"longest_side must be at least 32 pixels; it is {self.longest_side}")


class Finder:
    """Finds faces as ``Finding`` says, and cuts them out. Threads may share it."""

    def __init__(self, settings: Finding | None = None, detector: Detector | None = None) -> None:
        self.settings = settings or Finding()
        self._detect = detector or _detector(self.settings)

    def find(self, rgb: np.ndarray) -> list[Detection]:
        """The wanted faces of a picture (H x W x 3, uint8), best detection first."""
        picture, scale = shrink(rgb, self.settings.longest_side or max(rgb.shape[:2]))
        faces = self._detect(picture)
        if scale < 1:
            faces = [_enlarged(face, 1 / scale) for face in faces]
        found = [_with_usable_eyes(face) for face in faces if _is_face(face, rgb) and min(face.size_wh) >= self.settings.min_size]
        if self.settings.largest:
            found = sorted(found, key=lambda face: -face.size_wh[0] * face.size_wh[1])[:1]
        return found[: self.settings.max_faces]

    def crop(self, rgb: np.ndarray, face: Detection, size: int) -> np.ndarray:
        """The face as a network wants it, ``size`` x ``size`` x 3."""
        if self.settings.align and face.eyes_xy is not None:
            return align_face(rgb, face.eyes_xy, size, self.settings.margin)
        return crop_face(rgb, face.box_xyxy, size, self.settings.margin)


def _detector(settings: Finding) -> Detector:
    name, files = settings.detector, dict(settings.files)
    if name == "auto":
        name = "yunet" if _has_file("yunet", files) else "haar"
    found: Detector = get("detectors", name)(files.get(name), settings.threshold)
    return found


def _has_file(name: str, files: dict[str, Path]) -> bool:
    if name in files:
        return Path(files[name]).is_file()
    wanted = asset(name)
    return wanted is not None and assets.find(wanted) is not None


def _enlarged(face: Detection, scale: float) -> Detection:
    left, top, right, bottom = (value * scale for value in face.box_xyxy)
    if face.eyes_xy is None:
        return replace(face, box_xyxy=(left, top, right, bottom))
    (x0, y0), (x1, y1) = face.eyes_xy
    eyes = ((x0 * scale, y0 * scale), (x1 * scale, y1 * scale))
    return replace(face, box_xyxy=(left, top, right, bottom), eyes_xy=eyes)


def _is_face(face: Detection, rgb: np.ndarray) -> bool:
    """Whether its numbers are numbers, and its box lies in the picture with at least a part, and is not far larger."""
    wild = _WILD * max(rgb.shape[:2])
    return bool(np.isfinite([*face.box_xyxy, face.score]).all()) and touches(face.box_xyxy, rgb) and max(face.size_wh) <= wild


def _with_usable_eyes(face: Detection) -> Detection:
    """Without its eyes, where they are no numbers, or hardly apart, or further apart than the box is large."""
    if face.eyes_xy is None:
        return face
    (x0, y0), (x1, y1) = face.eyes_xy
    apart = np.hypot(x1 - x0, y1 - y0)  # no number: no comparison holds
    return face if 0.05 * max(face.size_wh) < apart < 2 * max(face.size_wh) else replace(face, eyes_xy=None)


def touches(box_xyxy: tuple[float, float, float, float], rgb: np.ndarray) -> bool:
    """Whether at least a pixel of the box lies inside the picture."""
    left, top, right, bottom = box_xyxy
    return min(right, rgb.shape[1]) - max(left, 0) >= 1 and min(bottom, rgb.shape[0]) - max(top, 0) >= 1


def crop_face(rgb: np.ndarray, box_xyxy: tuple[float, float, float, float], size: int, margin: float = 0.1) -> np.ndarray:
    """The face as a square crop (``size`` x ``size`` x 3) with a little margin; beyond the edge pixels repeat."""
    left, top, right, bottom = box_xyxy
    if (left, top, right, bottom) == (0, 0, rgb.shape[1], rgb.shape[0]):
        return resize(rgb, size)
    half = max(right - left, bottom - top) * (0.5 + margin)
    x, y = (left + right) / 2, (top + bottom) / 2
    x0, y0, x1, y1 = round(x - half), round(y - half), round(x + half), round(y + half)
    x1, y1 = max(x1, x0 + 1), max(y1, y0 + 1)
    height, width = rgb.shape[:2]
    inside = rgb[max(y0, 0) : min(y1, height), max(x0, 0) : min(x1, width)]
    if inside.size == 0:
        raise ValueError(f"the box {box_xyxy} lies outside the picture of {width} x {height} pixels")
    padding = np.array([[max(-y0, 0), max(y1 - height, 0)], [max(-x0, 0), max(x1 - width, 0)]])
    if padding.any() and max(x1 - x0, y1 - y0) > _LARGEST_CROP:
        scale = _LARGEST_CROP / max(x1 - x0, y1 - y0)
        shrunk = [max(1, round(side * scale)) for side in inside.shape[1::-1]]
        inside = cv2.resize(inside, shrunk, interpolation=cv2.INTER_AREA)
        padding = (padding * scale).round().astype(int)
    return resize(np.pad(inside, (*padding.tolist(), (0, 0)), mode="edge"), size)


def align_face(
    rgb: np.ndarray, eyes_xy: tuple[tuple[float, float], tuple[float, float]], size: int, margin: float = 0.1
) -> np.ndarray:
    """The face turned and scaled (``size`` x ``size`` x 3) until its eyes are level and lie where they usually do."""
    eyes = np.array(eyes_xy, float)
    inner = size / (1 + 2 * margin)  # the side of the face without its margin
    scale = _EYES_APART * inner / max(float(np.hypot(*(eyes[1] - eyes[0]))), 1e-6)
    part, eyes, scale = _around(rgb, eyes, size, scale)
    turn = np.arctan2(*(eyes[1] - eyes[0])[::-1])
    cos, sin = scale * np.cos(turn), scale * np.sin(turn)
    target = np.array([size / 2, size / 2 + (_EYES_DOWN - 0.5) * inner])
    linear = np.array([[cos, sin], [-sin, cos]])
    matrix = np.hstack([linear, (target - linear @ eyes.mean(axis=0))[:, None]])
    found = cv2.warpAffine(part, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(found)


def _around(rgb: np.ndarray, eyes: np.ndarray, size: int, scale: float) -> tuple[np.ndarray, np.ndarray, float]:
    """The part of the picture that an aligned face is made of, no larger than needed; its eyes; what scale is left to do.

    Turning reads four pixels for one, so a large face would come out with steps; scaling down first reads them all.
    """
    middle, reach = eyes.mean(axis=0), size / scale  # the crop's corners are nearer than its side
    low = np.clip(np.floor(middle - reach), 0, [rgb.shape[1] - 1, rgb.shape[0] - 1]).astype(int)
    high = np.clip(np.ceil(middle + reach), low + 1, [rgb.shape[1], rgb.shape[0]]).astype(int)
    part, eyes = rgb[low[1] : high[1], low[0] : high[0]], eyes - low
    if scale >= 1:
        return part, eyes, scale
    wanted = np.maximum(np.round(np.array(part.shape[1::-1]) * scale), 1).astype(int)
    shrunk = wanted / np.array(part.shape[1::-1])
    return cv2.resize(part, wanted.tolist(), interpolation=cv2.INTER_AREA), (eyes + 0.5) * shrunk - 0.5, 1.0
