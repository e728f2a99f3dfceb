"""Detector ``haar``: OpenCV's bundled cascade of Haar features (Viola and Jones, 2001); no file needed.

Its score is the logistic of the last stage's weight: it ranks faces, and is no probability.
"""

from pathlib import Path

import cv2
import numpy as np

from ferflow.detectors import Detection, Detector
from ferflow.registry import register

_SMALLEST = (20, 20)  # pixels, after scaling
_LONGEST_SIDE = 640  # larger pictures are scaled down first: time, and false alarms in texture


@register
def build(model_path: Path | None = None) -> Detector:
    """The frontal-face cascade that every OpenCV 4 carries."""
    cascade = cv2.CascadeClassifier(str(Path(cv2.__file__).parent / "data" / "haarcascade_frontalface_alt2.xml"))

    def detect(rgb: np.ndarray) -> list[Detection]:
        gray = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
        scale = min(1.0, _LONGEST_SIDE / max(gray.shape))
        if scale < 1:
            gray = cv2.resize(gray, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        boxes, _, weights = cascade.detectMultiScale3(
            gray, scaleFactor=1.05, minNeighbors=5, minSize=_SMALLEST, outputRejectLevels=True
        )
        found = [
            Detection(
                (float(x / scale), float(y / scale), float((x + w) / scale), float((y + h) / scale)),
                float(1 / (1 + np.exp(-weight))),
            )
            for (x, y, w, h), weight in zip(boxes, np.ravel(weights), strict=True)
        ]
        return sorted(found, key=lambda detection: -detection.score)

    return detect
