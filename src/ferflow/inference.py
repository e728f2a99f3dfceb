"""From pixels to predictions with an exported model: what the service, the command line and parity checks use.

It needs numpy, OpenCV and ONNX Runtime, and imports no training library. It knows no server.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from ferflow.card import CARD_KEY, Card
from ferflow.detectors import Detection, Detector
from ferflow.images import resize
from ferflow.registry import get
from ferflow.vocabulary import EMOJI, TASKS

_MARGIN = 0.1  # of the box's longer side, added on every side of a detected face


class ModelError(ValueError):
    """A file that is not a ferflow export."""


@dataclass(frozen=True)
class FacePrediction:
    """Everything the model says of one face.

    ``box_xyxy`` in pixels of the picture; ``confidence`` is the probability of ``expression``; ``top3`` the
    three most probable expressions; ``probabilities`` maps a task to class -> probability. What the model
    has no head for is None.
    """

    box_xyxy: tuple[float, float, float, float]
    detection_score: float
    expression: str | None
    emoji: str | None
    confidence: float | None
    top3: list[tuple[str, float]]
    probabilities: dict[str, dict[str, float]]
    valence: float | None
    arousal: float | None
    age: str | None
    gender: str | None
    race: str | None

    def as_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)


class Predictor:
    """An exported model in ONNX Runtime.

    ``model`` is the path of a ``model.onnx``, of the folder it lies in, or its bytes. Raises ``ModelError``
    when it is no ferflow export, ``FileNotFoundError`` when there is no such file.
    """

    def __init__(self, model: str | Path | bytes, threads: int = 1) -> None:
        if not isinstance(model, bytes):
            path = Path(model)
            path = path / "model.onnx" if path.is_dir() else path
            if not path.is_file():
                raise FileNotFoundError(f"no model at {path}; 'make repro' makes models/release/model.onnx")
            model = path.read_bytes()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime has no common base class of its errors
            raise ModelError(f"ONNX Runtime cannot load the model: {error}") from error
        card = self._session.get_modelmeta().custom_metadata_map.get(CARD_KEY)
        if card is None:
            raise ModelError(f"the ONNX file has no {CARD_KEY} in its metadata: it is no ferflow export")
        self.card = Card.model_validate_json(card)

    def predict_faces(self, faces: np.ndarray) -> dict[str, np.ndarray]:
        """Outputs by task for uint8 RGB crops, N x S x S x 3: N x K probabilities, or N x 2 for affect."""
        size = self.card.input_size
        if faces.dtype != np.uint8 or faces.shape[1:] != (size, size, 3):
            raise ValueError(f"faces must be uint8, N x {size} x {size} x 3; these are {faces.dtype} {faces.shape}")
        if len(faces) == 0:
            return {task: np.zeros((0, len(classes)), np.float32) for task, classes in self.card.tasks.items()}
        tasks = list(self.card.tasks)
        return dict(zip(tasks, self._session.run(tasks, {"faces": faces}), strict=True))

    def predict(self, rgb: np.ndarray, detector: Detector, max_faces: int = 100) -> list[FacePrediction]:
        """Every face that ``detector`` finds in an RGB picture (H x W x 3, uint8), best detection first."""
        found = detector(rgb)[:max_faces]
        crops = [crop_face(rgb, detection.box_xyxy, self.card.input_size) for detection in found]
        size = self.card.input_size
        outputs = self.predict_faces(np.stack(crops) if crops else np.zeros((0, size, size, 3), np.uint8))
        return [self._describe(detection, outputs, index) for index, detection in enumerate(found)]

    def _describe(self, detection: Detection, outputs: dict[str, np.ndarray], index: int) -> FacePrediction:
        probabilities = {
            task: {name: float(p) for name, p in zip(classes, outputs[task][index], strict=True)}
            for task, classes in self.card.tasks.items()
            if TASKS[task].kind == "classification"
        }
        best = {task: max(values, key=values.__getitem__) for task, values in probabilities.items()}
        expression = best.get("expression")
        ranked = sorted(probabilities.get("expression", {}).items(), key=lambda pair: -pair[1])
        affect = outputs["affect"][index] if "affect" in outputs else (None, None)
        return FacePrediction(
            box_xyxy=detection.box_xyxy,
            detection_score=detection.score,
            expression=expression,
            emoji=EMOJI[expression] if expression else None,
            confidence=ranked[0][1] if ranked else None,
            top3=ranked[:3],
            probabilities=probabilities,
            valence=None if affect[0] is None else float(affect[0]),
            arousal=None if affect[1] is None else float(affect[1]),
            age=best.get("age"),
            gender=best.get("gender"),
            race=best.get("race"),
        )


def crop_face(rgb: np.ndarray, box_xyxy: tuple[float, float, float, float], size: int) -> np.ndarray:
    """The face as a square crop (``size`` x ``size`` x 3) with a little margin; beyond the edge pixels repeat."""
    left, top, right, bottom = box_xyxy
    if (left, top, right, bottom) == (0, 0, rgb.shape[1], rgb.shape[0]):
        return resize(rgb, size)
    half = max(right - left, bottom - top) * (0.5 + _MARGIN)
    x, y = (left + right) / 2, (top + bottom) / 2
    x0, y0, x1, y1 = round(x - half), round(y - half), round(x + half), round(y + half)
    height, width = rgb.shape[:2]
    inside = rgb[max(y0, 0) : min(y1, height), max(x0, 0) : min(x1, width)]
    if inside.size == 0:
        raise ValueError(f"the box {box_xyxy} lies outside the picture of {width} x {height} pixels")
    padding = ((max(-y0, 0), max(y1 - height, 0)), (max(-x0, 0), max(x1 - width, 0)), (0, 0))
    return resize(np.pad(inside, padding, mode="edge"), size)


def choose_detector(name: str, files: dict[str, Path]) -> Detector:
    """A detector by its registered name, with the file it needs; ``auto`` is YuNet where its file is there, else Haar."""
    if name == "auto":
        name = "yunet" if "yunet" in files and files["yunet"].is_file() else "haar"
    detector: Detector = get("detectors", name)(files.get(name))
    return detector
