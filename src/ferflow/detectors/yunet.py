"""Detector ``yunet``: OpenCV Zoo's small network (Wu et al., 2023), for faces of any pose; needs its ONNX file."""

from pathlib import Path
from threading import Lock

import cv2
import numpy as np

from ferflow.detectors import Detection, Detector, shrink
from ferflow.registry import register

_SURE = 0.6


@register
def build(model_path: Path | None = None, threshold: float | None = None) -> Detector:
    """Raises ``FileNotFoundError`` when the model's file is not there."""
    if model_path is None or not Path(model_path).is_file():
        raise FileNotFoundError(
            f"the detector yunet needs its file at {model_path}; fetch face_detection_yunet_2023mar.onnx from the "
            "OpenCV Zoo and put it there, or choose the detector haar"
        )
    network = cv2.FaceDetectorYN.create(
        str(model_path), "", (320, 320), score_threshold=_SURE if threshold is None else threshold
    )
    lock = Lock()  # the input size is state of the network

    def detect(rgb: np.ndarray) -> list[Detection]:
        bgr, scale = shrink(cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
        with lock:
            network.setInputSize((bgr.shape[1], bgr.shape[0]))
            _, rows = network.detect(bgr)
        found = [
            Detection(
                (float(x / scale), float(y / scale), float((x + w) / scale), float((y + h) / scale)),
                float(np.clip(score, 0, 1)),
                ((float(right_x / scale), float(right_y / scale)), (float(left_x / scale), float(left_y / scale))),
            )
            for x, y, w, h, right_x, right_y, left_x, left_y, score in (
                () if rows is None else rows[:, [0, 1, 2, 3, 4, 5, 6, 7, 14]]  # a person's right eye is on the picture's left
            )
        ]
        return sorted(found, key=lambda detection: (-detection.score, detection.box_xyxy))

    return detect
