"""Detector ``yolo``: any YOLO network for faces that was exported to ONNX, through ONNX Runtime; bring your own file.

Which YOLO it is shows in its output, a table with a row an anchor. Rows begin with the box; what follows by their length:

- 6, three anchors a cell (YOLOv5, v7): objectness, class; 16 (YOLOv5-face): five points between these two; 21 (YOLOv7-face):
  objectness, class, five points with a confidence each.
- 5 or 20, one anchor a cell, often lying on its side (v8, v9, v11; with five points: YOLOv8-face): score, points.
- 6 or 21, at most 1,000 rows, done already (v10, or an export with NMS): corners instead of the centre, score, class, points.

The first two of five points are the eyes. Of anything else the shape is said; YOLOX and raw maps a stride are such.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime

from ferflow.assets import Asset
from ferflow.detectors import Detection, Detector, needed
from ferflow.registry import register

ASSET = Asset("yolo_face.onnx", "", "", "that of the file you bring; many YOLO weights are AGPL-3.0 or for research only")
_SURE, _SAME_FACE = 0.5, 0.45  # score; intersection over union
_SIDE, _STRIDES, _GRAY = 640, (8, 16, 32, 64), 114  # of an input of any size; the last stride is that of large networks
_MOST_DONE = 1000  # rows of a table that went through NMS


@dataclass(frozen=True)
class Table:
    """What the rows of an output say: boxes (N x 4: left, top, right, bottom), scores (N), eyes (N x 4, or None)."""

    boxes_xyxy: np.ndarray
    scores: np.ndarray
    eyes: np.ndarray | None


@register
def build(model_path: Path | None = None, threshold: float | None = None) -> Detector:
    """Raises ``FileNotFoundError`` where no file is, ``ValueError`` for a file that is no YOLO for faces known here."""
    network = _Network(needed("yolo", model_path))
    least = _SURE if threshold is None else threshold
    network(np.zeros((*network.size_hw, 3), np.uint8))  # an unknown output is said now, and not at the first picture

    def detect(rgb: np.ndarray) -> list[Detection]:
        table, scale, (left, top) = network(rgb)
        scores = np.clip(table.scores, 0, 1)
        chosen = np.flatnonzero((scores >= least) & np.isfinite(table.boxes_xyxy).all(axis=1))
        corners = table.boxes_xyxy[chosen]
        boxes = np.column_stack([corners[:, :2], corners[:, 2:] - corners[:, :2]]).astype(float)
        kept = cv2.dnn.NMSBoxes(boxes.tolist(), scores[chosen].astype(float).tolist(), 0.0, _SAME_FACE) if len(chosen) else ()
        shift = np.array([left, top, left, top])
        found = []
        for index in chosen[np.asarray(kept, int).ravel()]:
            eyes = None if table.eyes is None else (table.eyes[index] - shift) / scale
            found.append(_detection((table.boxes_xyxy[index] - shift) / scale, scores[index], eyes))
        return sorted(found, key=lambda detection: (-detection.score, detection.box_xyxy))

    return detect


class _Network:
    """A picture of any size in, its table out, with the scale and the offset that brought the picture to the input."""

    def __init__(self, file: Path) -> None:
        try:
            options = onnxruntime.SessionOptions()
            options.log_severity_level = 3
            self._session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime has no common base class of its errors
            raise ValueError(f"{file}: ONNX Runtime cannot load it: {error}") from error
        given = self._session.get_inputs()[0]
        types = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
        if given.type not in types or len(given.shape) != 4 or (isinstance(given.shape[1], int) and given.shape[1] != 3):
            raise ValueError(f"{file}: a YOLO takes pictures as N x 3 x H x W of floats; this takes {given.type} {given.shape}")
        self._file, self._name, self._type = file, given.name, types[given.type]
        self._fixed = [side if isinstance(side, int) and side > 0 else None for side in given.shape[2:]]
        self.size_hw = tuple(side or _SIDE for side in self._fixed)

    def __call__(self, rgb: np.ndarray) -> tuple[Table, float, tuple[int, int]]:
        height, width = self._input_size(rgb)
        scale = min(height / rgb.shape[0], width / rgb.shape[1])
        size = (min(width, max(1, round(rgb.shape[1] * scale))), min(height, max(1, round(rgb.shape[0] * scale))))
        small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        left, top = (width - size[0]) // 2, (height - size[1]) // 2
        canvas = np.full((height, width, 3), _GRAY, np.uint8)
        canvas[top : top + size[1], left : left + size[0]] = small
        tensor = (canvas.transpose(2, 0, 1)[None].astype(np.float32) / 255).astype(self._type)
        try:
            outputs = self._session.run(None, {self._name: tensor})
        except Exception as error:  # as above
            raise ValueError(f"{self._file}: it does not take a picture of {width} x {height}: {error}") from error
        return self._table(outputs, height, width), scale, (left, top)

    def _input_size(self, rgb: np.ndarray) -> tuple[int, int]:
        """The input's own size; where it is free, the picture's shape in whole large strides."""
        largest, wide = max(rgb.shape[:2]), _STRIDES[-1]
        free = [int(np.ceil(side * _SIDE / largest / wide)) * wide for side in rgb.shape[:2]]
        height, width = (fixed or side for fixed, side in zip(self._fixed, free, strict=True))
        return height, width

    def _table(self, outputs: list[Any], height: int, width: int) -> Table:
        for output in outputs:
            if getattr(output, "ndim", 0) == 3 and output.shape[0] == 1:
                rows = output[0].astype(np.float32)
                if (read := layout(rows.shape, height, width)) is not None:
                    return read(rows)
                if (read := layout(rows.T.shape, height, width)) is not None:
                    return read(rows.T)
        shapes = ", ".join(" x ".join(map(str, np.shape(output))) for output in outputs)
        raise ValueError(
            f"{self._file}: the output {shapes} is none of a YOLO for faces that is known here (for an input of {width} x "
            f"{height}: 1 x {_anchors(height, width, 4)[0] * 3} x 6, 16 or 21, 1 x 5 or 20 x {_anchors(height, width, 4)[0]}, "
            f"1 x at most {_MOST_DONE} x 6 or 21); export it with one output, for one class"
        )


def layout(shape: tuple[int, ...], height: int, width: int) -> Callable[[np.ndarray], Table] | None:
    """How to read a table with so many rows and columns, for an input of that size; None for one that is not known."""
    rows, columns = shape
    single = _anchors(height, width, 3) + _anchors(height, width, 4)
    triple = [3 * cells for cells in single]
    if rows in triple and columns in _TRIPLE:
        return _TRIPLE[columns]
    if rows in single and columns in _SINGLE:
        return _SINGLE[columns]
    return _DONE.get(columns) if rows <= _MOST_DONE and rows not in single else None


def _anchors(height: int, width: int, strides: int) -> list[int]:
    return [sum(-(-height // stride) * -(-width // stride) for stride in _STRIDES[:strides])]


def _centred(rows: np.ndarray, scores: np.ndarray, eyes: list[int] | None = None) -> Table:
    half = rows[:, 2:4] / 2
    boxes = np.column_stack([rows[:, :2] - half, rows[:, :2] + half])
    return Table(boxes, scores, None if eyes is None else rows[:, eyes])


def _cornered(rows: np.ndarray, eyes: list[int] | None = None) -> Table:
    return Table(rows[:, :4], rows[:, 4], None if eyes is None else rows[:, eyes])


_TRIPLE: dict[int, Callable[[np.ndarray], Table]] = {
    6: lambda rows: _centred(rows, rows[:, 4] * rows[:, 5]),
    16: lambda rows: _centred(rows, rows[:, 4] * rows[:, 15], [5, 6, 7, 8]),
    21: lambda rows: _centred(rows, rows[:, 4] * rows[:, 5], [6, 7, 9, 10]),
}
_SINGLE: dict[int, Callable[[np.ndarray], Table]] = {
    5: lambda rows: _centred(rows, rows[:, 4]),
    20: lambda rows: _centred(rows, rows[:, 4], [5, 6, 8, 9]),
}
_DONE: dict[int, Callable[[np.ndarray], Table]] = {
    6: _cornered,
    21: lambda rows: _cornered(rows, [6, 7, 9, 10]),
}


def _detection(box: np.ndarray, score: float, eyes: np.ndarray | None) -> Detection:
    left, top, right, bottom = (float(value) for value in box)
    if eyes is None:
        return Detection((left, top, right, bottom), float(score))
    one, other = sorted([(float(eyes[0]), float(eyes[1])), (float(eyes[2]), float(eyes[3]))])
    return Detection((left, top, right, bottom), float(score), (one, other))
