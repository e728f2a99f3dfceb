"""Detector ``yunet``: OpenCV Zoo's small network (Wu et al., 2023), for faces of any pose; needs its ONNX file."""

from pathlib import Path
from threading import Lock

import cv2
import numpy as np

from ferflow.assets import Asset
from ferflow.detectors import Detection, Detector, needed, shrink
from ferflow.registry import register

ASSET = Asset(
    "face_detection_yunet_2023mar.onnx",
    "https://github.com/opencv/opencv_zoo/raw/main/models/face_detection_yunet/face_detection_yunet_2023mar.onnx",
    "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
    "MIT",
)
_SURE = 0.6
_LONGEST_SIDE = 1280  # it needs faces of about 10 pixels: at 640, a group in a picture of 2400 lost half of them


@register
def build(model_path: Path | None = None, threshold: float | None = None) -> Detector:
    """Raises ``FileNotFoundError`` when the model's file is not there, ``ValueError`` for a file that is no such model."""
    file = needed("yunet", model_path)
    try:
        network = cv2.FaceDetectorYN.create(str(file), "", (320, 320), score_threshold=_SURE if threshold is None else threshold)
    except cv2.error as error:
        raise ValueError(f"{file}: OpenCV cannot read it as a YuNet model") from error
    lock = Lock()  # the input size is state of the network

    def detect(rgb: np.ndarray) -> list[Detection]:
        bgr, scale = shrink(cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), _LONGEST_SIDE)
        with lock:
            network.setInputSize((bgr.shape[1], bgr.shape[0]))
            _, rows = network.detect(bgr)
        rows = np.zeros((0, 15)) if rows is None else rows.astype(np.float64)
        rows = rows[np.isfinite(rows).all(axis=1)]  # tiny pictures give inf
        found = [
            Detection(
                (float(x / scale), float(y / scale), float((x + w) / scale), float((y + h) / scale)),
                float(np.clip(score, 0, 1)),
                ((float(right_x / scale), float(right_y / scale)), (float(left_x / scale), float(left_y / scale))),
            )
            for x, y, w, h, right_x, right_y, left_x, left_y, score in (
                rows[:, [0, 1, 2, 3, 4, 5, 6, 7, 14]]  # a person's right eye is on the picture's left
            )
        ]
        return sorted(found, key=lambda detection: (-detection.score, detection.box_xyxy))

    return detect
