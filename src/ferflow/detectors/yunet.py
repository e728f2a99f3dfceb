"""Detector ``yunet``: OpenCV Zoo's small network, for faces of any pose; needs its ONNX file.

Wu, Peng and Yu, "YuNet: A Tiny Millisecond-level Face Detector" (Machine Intelligence Research 20, 2023). It runs in ONNX
Runtime, which takes less than half of the time of OpenCV's own runtime; tests compare the two.
"""

from pathlib import Path

import cv2
import numpy as np
import onnxruntime

from ferflow.assets import Asset
from ferflow.detectors import Detection, Detector, needed, shrink
from ferflow.registry import register

ASSET = Asset(
    "face_detection_yunet_2023mar.onnx",
    "https://github.com/opencv/opencv_zoo/raw/main/models/face_detection_yunet/face_detection_yunet_2023mar.onnx",
    "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
    "MIT",
)
_SURE, _OVERLAP = 0.6, 0.3  # OpenCV's own
_LONGEST_SIDE = 1280  # it needs faces of about 10 pixels: at 640, a group in a picture of 2400 lost half of them
_STRIDES = (8, 16, 32)
_KINDS = ("cls", "obj", "bbox", "kps")
# The file says that pictures have 640 x 640 pixels, though its graph takes any multiple of 32: dimensions with a value (08 80 05:
# 640) become ones with a name (12 01 68: "h"), as ONNX's protobuf writes them.
_FIXED = bytes.fromhex("0a0208010a0208030a030880050a03088005")
_FREE = bytes.fromhex("0a0208010a0208030a031201680a03120177")


@register
def build(model_path: Path | None = None, threshold: float | None = None) -> Detector:
    """Raises ``FileNotFoundError`` when the model's file is not there, ``ValueError`` for a file that is no such model."""
    session = _session(needed("yunet", model_path))
    least = _SURE if threshold is None else threshold

    def detect(rgb: np.ndarray) -> list[Detection]:
        picture, scale = shrink(rgb, _LONGEST_SIDE)
        rows = _decoded(_outputs(session, picture), least)
        kept = cv2.dnn.NMSBoxes(rows[:, :4].tolist(), rows[:, 14].tolist(), 0.0, _OVERLAP) if len(rows) else []
        found = [_detection(rows[index], scale) for index in kept]
        return sorted(found, key=lambda detection: (-detection.score, detection.box_xyxy))

    return detect


def _session(file: Path) -> onnxruntime.InferenceSession:
    data = file.read_bytes()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4  # shapes that the file says of its outputs are of 640 x 640, too
    try:
        session = onnxruntime.InferenceSession(data.replace(_FIXED, _FREE), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime has no common base class of its errors
        raise ValueError(f"{file}: ONNX Runtime cannot read it as a YuNet model") from error
    names = {f"{kind}_{stride}" for kind in _KINDS for stride in _STRIDES}
    if data.count(_FIXED) != 1 or names != {output.name for output in session.get_outputs()}:
        raise ValueError(f"{file}: it is no YuNet model as of 2023")
    return session


def _outputs(session: onnxruntime.InferenceSession, rgb: np.ndarray) -> dict[str, np.ndarray]:
    """What the network says of a picture (H x W x 3, uint8): name -> height x width x values, cell by cell.

    Below and to the right of the picture there is black, up to a multiple of the largest stride.
    """
    height, width = (-(-side // _STRIDES[-1]) * _STRIDES[-1] for side in rgb.shape[:2])
    blob = np.zeros((1, 3, height, width), np.float32)
    blob[0, :, : rgb.shape[0], : rgb.shape[1]] = rgb[:, :, ::-1].transpose(2, 0, 1)  # it wants blue first
    names = [f"{kind}_{stride}" for stride in _STRIDES for kind in _KINDS]
    found = session.run(names, {"input": blob})
    cells = [(height // stride, width // stride) for stride in _STRIDES for _ in _KINDS]
    return {name: values.reshape(*size, -1) for name, values, size in zip(names, found, cells, strict=True)}


def _decoded(outputs: dict[str, np.ndarray], least: float) -> np.ndarray:
    """Faces with a score of at least ``least``: N x 15 (left, top, width, height; five points x, y; score), pixels."""
    rows = [np.zeros((0, 15))]
    for stride in _STRIDES:
        classes, objects, boxes, points = (outputs[f"{kind}_{stride}"] for kind in _KINDS)
        scores = np.sqrt(np.clip(classes, 0, 1) * np.clip(objects, 0, 1))[..., 0]
        row, column = np.nonzero(scores >= least)
        place = np.column_stack([column, row]).astype(np.float64)
        box, five = boxes[row, column].astype(np.float64), points[row, column].astype(np.float64)
        with np.errstate(over="ignore"):
            size = np.exp(box[:, 2:]) * stride
        corner = (place + box[:, :2]) * stride - size / 2
        rows.append(np.column_stack([corner, size, (five + np.tile(place, 5)) * stride, scores[row, column]]))
    found = np.concatenate(rows)
    return np.asarray(found[np.isfinite(found).all(axis=1)])


def _detection(row: np.ndarray, scale: float) -> Detection:
    x, y, w, h, right_x, right_y, left_x, left_y = (float(value) / scale for value in row[:8])
    eyes = ((right_x, right_y), (left_x, left_y))  # a person's right eye is on the picture's left
    return Detection((x, y, x + w, y + h), float(np.clip(row[14], 0, 1)), eyes)
