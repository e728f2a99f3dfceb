"""Detector ``haar``: OpenCV's bundled cascade of Haar features (Viola and Jones, 2001); no file needed.

Its score is the logistic of how far the last stage's threshold is passed: it ranks faces, and is no probability.
"""

import re
from pathlib import Path
from threading import local

import cv2
import numpy as np

from ferflow.detectors import Detection, Detector, shrink
from ferflow.registry import register

_SMALLEST = (20, 20)  # pixels, after scaling


@register
def build(model_path: Path | None = None, threshold: float | None = None) -> Detector:
    """The frontal-face cascade that every OpenCV 4 carries."""
    file = Path(cv2.__file__).parent / "data" / "haarcascade_frontalface_alt2.xml"
    mine = local()  # a cascade keeps the picture it works on: each thread has its own
    bound = float(re.findall(r"<stageThreshold>([^<]+)<", file.read_text())[-1])

    def detect(rgb: np.ndarray) -> list[Detection]:
        gray, scale = shrink(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY))
        if not hasattr(mine, "cascade"):
            mine.cascade = cv2.CascadeClassifier(str(file))
        boxes, _, weights = mine.cascade.detectMultiScale3(
            gray, scaleFactor=1.05, minNeighbors=5, minSize=_SMALLEST, outputRejectLevels=True
        )
        found = [
            Detection(
                (float(x / scale), float(y / scale), float((x + w) / scale), float((y + h) / scale)),
                float(1 / (1 + np.exp(bound - weight))),
            )
            for (x, y, w, h), weight in zip(boxes, np.ravel(weights), strict=True)
        ]
        found = [detection for detection in found if detection.score >= (threshold or 0)]
        return sorted(found, key=lambda detection: (-detection.score, detection.box_xyxy))

    return detect
