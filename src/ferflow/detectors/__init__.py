"""Face detectors, one file each: a picture in, boxes out.

An entry is a function ``build(model_path, threshold) -> Detector``; a detector takes an RGB picture (H x W x 3, uint8)
and gives every face of at least that score (None: the detector's own threshold), best first. Threads may share it. One
that needs a file says so beside ``build``: ``ASSET = Asset(file, url, sha256, licence)``. It knows no expression.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import cv2
import numpy as np

from ferflow import assets
from ferflow.assets import Asset


@dataclass(frozen=True)
class Detection:
    """One face: ``box_xyxy`` in pixels (left, top, right, bottom), ``score`` between 0 and 1.

    ``eyes_xy`` are the eyes' centres in pixels, the one on the picture's left first; None where the detector gives none.
    """

    box_xyxy: tuple[float, float, float, float]
    score: float
    eyes_xy: tuple[tuple[float, float], tuple[float, float]] | None = None

    @property
    def size_wh(self) -> tuple[float, float]:
        """Width and height in pixels."""
        left, top, right, bottom = self.box_xyxy
        return right - left, bottom - top


LONGEST_SIDE = 640  # larger pictures are scaled down first: time, and false alarms in texture

Detector = Callable[[np.ndarray], list[Detection]]


def asset(name: str) -> Asset | None:
    """The file that a registered detector needs; None where it needs none."""
    found: Asset | None = getattr(import_module(f"ferflow.detectors.{name}"), "ASSET", None)
    return found


def needed(name: str, path: Path | None) -> Path:
    """The path of a detector's file: ``path``, else where assets lie. ``FileNotFoundError`` when it is not there."""
    wanted = asset(name)
    if path is None and wanted is not None:
        path = assets.find(wanted)
    if path is not None and Path(path).is_file():
        return Path(path)
    how = f"ferflow assets fetch {name}" if wanted and wanted.url else f"ferflow assets add {name} FILE"
    at = f" at {path}" if path else ""
    raise FileNotFoundError(f"the detector {name} has no file{at}; run '{how}', or choose the detector haar")


def shrink(picture: np.ndarray, longest: int = LONGEST_SIDE) -> tuple[np.ndarray, float]:
    """The picture with its longest side at most ``longest`` pixels (none under 1), and the scale; never enlarged."""
    height, width = picture.shape[:2]
    scale = min(1.0, longest / max(height, width))
    if scale == 1:
        return picture, scale
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA), scale
