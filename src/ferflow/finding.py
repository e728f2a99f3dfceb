"""Which faces of a picture are looked at, and how they are cut out: a detector with its settings. It knows no model."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ferflow.detectors import Detection, Detector
from ferflow.images import resize
from ferflow.registry import get

_EYES_APART, _EYES_DOWN = 0.42, 0.40  # where the eyes lie in an aligned crop without a margin, shares of its side


@dataclass(frozen=True)
class Finding:
    """How faces are found.

    ``detector`` is a registered name, or ``auto``: YuNet where its file is, else Haar. ``files`` maps a detector to its
    model's file, where that is not where ``ferflow assets`` puts it. ``threshold`` is the least detection score (None: the
    detector's own), ``min_size`` the least side of a box in pixels, ``margin`` what is added on every side, a share of the
    box's longer side. ``align`` turns a face until its eyes are level, where the detector gives eyes. ``largest`` keeps the
    largest face alone, ``max_faces`` the best so many. Raises ``ValueError`` for values that make no sense.
    """

    detector: str = "auto"
    files: tuple[tuple[str, Path], ...] = ()
    threshold: float | None = None
    min_size: int = 0
    margin: float = 0.1
    align: bool = False
    largest: bool = False
    max_faces: int = 100

    def __post_init__(self) -> None:
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold must be between 0 and 1; it is {self.threshold}")
        if self.min_size < 0 or not 0 <= self.margin <= 1 or self.max_faces < 1:
            raise ValueError(
                "min_size must be 0 or more, margin between 0 and 1 and max_faces at least 1; they are "
                f"{self.min_size}, {self.margin} and {self.max_faces}"
            )


class Finder:
    """Finds faces as ``Finding`` says, and cuts them out. Threads may share it."""

    def __init__(self, settings: Finding | None = None, detector: Detector | None = None) -> None:
        self.settings = settings or Finding()
        self._detect = detector or _detector(self.settings)

    def find(self, rgb: np.ndarray) -> list[Detection]:
        """The wanted faces of a picture (H x W x 3, uint8), best detection first."""
        least = self.settings.min_size
        found = [face for face in self._detect(rgb) if min(face.size_wh) >= least and touches(face.box_xyxy, rgb)]
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
        name = "yunet" if "yunet" in files and files["yunet"].is_file() else "haar"
    found: Detector = get("detectors", name)(files.get(name), settings.threshold)
    return found


def touches(box_xyxy: tuple[float, float, float, float], rgb: np.ndarray) -> bool:
    """Whether some of the box lies inside the picture."""
    left, top, right, bottom = box_xyxy
    return left < rgb.shape[1] and top < rgb.shape[0] and right > 0 and bottom > 0 and right > left and bottom > top


def crop_face(rgb: np.ndarray, box_xyxy: tuple[float, float, float, float], size: int, margin: float = 0.1) -> np.ndarray:
    """The face as a square crop (``size`` x ``size`` x 3) with a little margin; beyond the edge pixels repeat."""
    left, top, right, bottom = box_xyxy
    if (left, top, right, bottom) == (0, 0, rgb.shape[1], rgb.shape[0]):
        return resize(rgb, size)
    half = max(right - left, bottom - top) * (0.5 + margin)
    x, y = (left + right) / 2, (top + bottom) / 2
    x0, y0, x1, y1 = round(x - half), round(y - half), round(x + half), round(y + half)
    height, width = rgb.shape[:2]
    inside = rgb[max(y0, 0) : min(y1, height), max(x0, 0) : min(x1, width)]
    if inside.size == 0:
        raise ValueError(f"the box {box_xyxy} lies outside the picture of {width} x {height} pixels")
    padding = ((max(-y0, 0), max(y1 - height, 0)), (max(-x0, 0), max(x1 - width, 0)), (0, 0))
    return resize(np.pad(inside, padding, mode="edge"), size)


def align_face(
    rgb: np.ndarray, eyes_xy: tuple[tuple[float, float], tuple[float, float]], size: int, margin: float = 0.1
) -> np.ndarray:
    """The face turned and scaled (``size`` x ``size`` x 3) until its eyes are level and lie where they usually do."""
    (x0, y0), (x1, y1) = eyes_xy
    inner = size / (1 + 2 * margin)  # the side of the face without its margin
    scale = _EYES_APART * inner / max(float(np.hypot(x1 - x0, y1 - y0)), 1e-6)
    turn = np.arctan2(y1 - y0, x1 - x0)
    cos, sin = scale * np.cos(turn), scale * np.sin(turn)
    middle = np.array([(x0 + x1) / 2, (y0 + y1) / 2])
    target = np.array([size / 2, size / 2 + (_EYES_DOWN - 0.5) * inner])
    linear = np.array([[cos, sin], [-sin, cos]])
    matrix = np.hstack([linear, (target - linear @ middle)[:, None]])
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.warpAffine(rgb, matrix, (size, size), flags=way, borderMode=cv2.BORDER_REPLICATE))
