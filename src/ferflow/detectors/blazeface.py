"""Detector ``blazeface``: MediaPipe's short-range network (Bazarevsky et al., 2019), made for a person before a camera.

It sees a square of 128 x 128 pixels, in which a face must be large: wider than about a seventh. So it looks at the whole
picture, and at squares of a third of its shorter side, which overlap by a third. That is some 40 looks a picture, whatever
its size, and faces under a twentieth of the shorter side are missed all the same.
"""

from collections.abc import Iterator
from pathlib import Path
from threading import Lock

import cv2
import numpy as np

from ferflow.assets import Asset
from ferflow.detectors import Detection, Detector, needed
from ferflow.registry import register

ASSET = Asset(
    "face_detection_short_range.tflite",
    # the address and the hash that MediaPipe's own build pins
    "https://storage.googleapis.com/mediapipe-assets/modules/face_detection/face_detection_short_range.tflite"
    "?generation=1782183508198291",
    "3bc182eb9f33925d9e58b5c8d59308a760f4adea8f282370e428c51212c26633",
    "Apache-2.0",
)
_SIDE = 128  # pixels, of the network's input
_GRIDS = ((8, 2), (16, 6))  # stride, anchors a cell: 16 x 16 x 2 + 8 x 8 x 6 = 896
_SURE, _SURE_OF_PART = 0.5, 0.75  # scores; in a part of the picture texture looks more like a face
_SAME_FACE, _EDGE = 0.3, 0.02  # intersection over union; share of a square's side
_SHARE, _OVERLAP = 3, 0.35  # parts have the shorter side through 3, and overlap by that share of their side


@register
def build(model_path: Path | None = None, threshold: float | None = None) -> Detector:
    """Raises ``FileNotFoundError`` when the model's file is not there, ``ValueError`` for a file that is no such model."""
    file = needed("blazeface", model_path)
    try:
        network = cv2.dnn.readNetFromTFLite(str(file))
    except cv2.error as error:
        raise ValueError(f"{file}: OpenCV cannot read it as a TFLite model") from error
    least, anchors, lock = _SURE if threshold is None else threshold, _anchors(), Lock()  # a network keeps its input

    def look(square: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        blob = cv2.dnn.blobFromImage(square, 1 / 127.5, (_SIDE, _SIDE), (127.5, 127.5, 127.5))
        with lock:
            network.setInput(blob)
            raw, logits = network.forward(("regressors", "classificators"))
        return _decode(raw[0], anchors), 1 / (1 + np.exp(-np.clip(logits[0, :, 0], -60, 60)))

    def detect(rgb: np.ndarray) -> list[Detection]:
        rows, whole = [np.zeros((0, 9))], max(rgb.shape[:2])
        for left, top, side in squares(rgb.shape[1], rgb.shape[0]):
            points, scores = look(_cut(rgb, left, top, side))
            good = scores >= (least if side == whole else max(least, _SURE_OF_PART))
            points, scores = points[good], scores[good]
            kept = _not_cut(points, left, top, side, rgb)
            points = points[kept] * side + np.tile([left, top], 4)
            rows.append(np.column_stack([points, scores[kept]]))
        found = [_detection(row) for row in _merged(np.concatenate(rows))]
        return sorted(found, key=lambda detection: (-detection.score, detection.box_xyxy))

    return detect


def _anchors() -> np.ndarray:
    """Centres of the 896 anchors, shares of the input's side (896 x 2: x, y)."""
    centres = []
    for stride, each in _GRIDS:
        cells = _SIDE // stride
        y, x = np.divmod(np.arange(cells * cells), cells)
        centres.append(np.repeat((np.column_stack([x, y]) + 0.5) / cells, each, axis=0))
    return np.concatenate(centres)


def _decode(raw: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    """Left, top, right, bottom, and the two eyes (896 x 8), shares of the input's side."""
    centre, half = raw[:, :2] / _SIDE + anchors, raw[:, 2:4] / _SIDE / 2
    return np.column_stack([centre - half, centre + half, raw[:, 4:6] / _SIDE + anchors, raw[:, 6:8] / _SIDE + anchors])


def squares(width: int, height: int) -> Iterator[tuple[int, int, int]]:
    """Left, top and side of the squares that are looked at; the first holds the whole picture."""
    longer, shorter = max(width, height), min(width, height)
    yield 0, 0, longer
    if longer > 8 * shorter:  # a strip: there would be no end of squares
        return
    side = max(shorter // _SHARE, _SIDE // 2)
    if side < shorter:
        yield from ((left, top, side) for top in _starts(height, side) for left in _starts(width, side))


def _starts(length: int, side: int) -> list[int]:
    steps = int(np.ceil((length - side) / (side * (1 - _OVERLAP))))
    return [round(step * (length - side) / steps) for step in range(steps + 1)]


def _cut(rgb: np.ndarray, left: int, top: int, side: int) -> np.ndarray:
    """A square as 128 x 128 x 3; black where the picture ends."""
    part = rgb[top : top + side, left : left + side]
    scale = _SIDE / side
    size = (max(1, round(part.shape[1] * scale)), max(1, round(part.shape[0] * scale)))
    small = cv2.resize(part, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    return cv2.copyMakeBorder(small, 0, _SIDE - size[1], 0, _SIDE - size[0], cv2.BORDER_CONSTANT)


def _not_cut(points: np.ndarray, left: int, top: int, side: int, rgb: np.ndarray) -> np.ndarray:
    """Which boxes do not reach over an edge behind which the picture goes on: another square has that face whole."""
    height, width = rgb.shape[:2]
    inside = np.ones(len(points), bool)
    if left > 0:
        inside &= points[:, 0] > _EDGE
    if top > 0:
        inside &= points[:, 1] > _EDGE
    if left + side < width:
        inside &= points[:, 2] < 1 - _EDGE
    if top + side < height:
        inside &= points[:, 3] < 1 - _EDGE
    return inside


def _merged(rows: np.ndarray) -> list[np.ndarray]:
    """One row a face: boxes that overlap are averaged, by their scores, and keep the best of these (weighted NMS)."""
    rows, faces = rows[np.argsort(-rows[:, 8], kind="stable")], []
    while len(rows):
        same = _overlap(rows[0], rows) > _SAME_FACE
        same[0] = True
        mean = np.average(rows[same, :8], axis=0, weights=rows[same, 8])
        faces.append(np.append(mean, rows[0, 8]))
        rows = rows[~same]
    return faces


def _overlap(one: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Intersection over union of one box with every other."""
    sides = np.minimum(one[2:4], rows[:, 2:4]) - np.maximum(one[:2], rows[:, :2])
    shared = np.prod(np.clip(sides, 0, None), axis=1)
    area, areas = np.prod(one[2:4] - one[:2]), np.prod(rows[:, 2:4] - rows[:, :2], axis=1)
    return shared / np.maximum(area + areas - shared, 1e-9)


def _detection(row: np.ndarray) -> Detection:
    left, top, right, bottom, x0, y0, x1, y1, score = (float(value) for value in row)
    return Detection((left, top, right, bottom), score, ((x0, y0), (x1, y1)) if x0 <= x1 else ((x1, y1), (x0, y0)))
