"""From pixels to predictions with an exported model: what evaluation, the service, the command line and parity checks use.

It needs numpy, OpenCV and ONNX Runtime, and imports no training library. It knows no server and no registry of models.
"""

from collections.abc import Generator, Iterable, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from pydantic import ValidationError

from ferflow.card import CARD_KEY, Card
from ferflow.detectors import Detection
from ferflow.finding import Finder
from ferflow.images import ImageLike, read, resize
from ferflow.streaming import Frame, Streaming, numbered, stream
from ferflow.vocabulary import EMOJI, TASKS

_BATCH = 64  # faces at once: more is no faster, and takes memory


class ModelError(ValueError):
    """A file that is not a ferflow export."""


@dataclass(frozen=True)
class FacePrediction:
    """Everything the model says of one face.

    ``box_xyxy`` in pixels of the picture; ``confidence`` is the probability of ``expression``, ``certain`` whether it is
    high enough to be relied on (the card's ``certain_above``); ``top3`` the three most probable expressions;
    ``probabilities`` maps a task to class -> probability. What the model has no head for is None.
    """

    box_xyxy: tuple[float, float, float, float]
    detection_score: float
    expression: str | None
    emoji: str | None
    confidence: float | None
    certain: bool | None
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
    """An exported model in ONNX Runtime, and the faces it is asked about. Threads may share it.
    ``fingerprint`` is the SHA-256 of the file.

    ``model`` is the path of an ONNX export, of the folder in which ``model.onnx`` lies, or its bytes; ``finder`` finds the
    faces of pictures. Raises ``ModelError`` when it is no ferflow export, ``FileNotFoundError`` when there is no such file.
    """

    def __init__(self, model: str | Path | bytes, finder: Finder | None = None, threads: int = 1) -> None:
        self.finder = finder or Finder()
        if not isinstance(model, bytes):
            path = Path(model)
            path = path / "model.onnx" if path.is_dir() else path
            if not path.is_file():
                raise FileNotFoundError(
                    f"no model at {path}; 'make repro' makes models/release/model.onnx, and 'starter' is always there"
                )
            model = path.read_bytes()
        self.fingerprint = sha256(model).hexdigest()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime has no common base class of its errors
            raise ModelError(f"ONNX Runtime cannot load the model; export it again: {error}") from error
        card = self._session.get_modelmeta().custom_metadata_map.get(CARD_KEY)
        if card is None:
            raise ModelError(
                f"the ONNX file has no {CARD_KEY} in its metadata: it is no ferflow export; 'ferflow export' makes one"
            )
        try:
            self.card = Card.model_validate_json(card)
        except ValidationError as error:
            keys = ", ".join(".".join(map(str, one["loc"])) for one in error.errors())
            raise ModelError(
                f"the export's card does not suit this version of ferflow ({keys}): export the model again"
            ) from error

    def predict(self, image: ImageLike) -> list[FacePrediction]:
        """Every face of a picture, best detection first.

        ``image``: RGB pixels (H x W x 3, uint8), grey ones (H x W), a PIL image, a path, or the bytes of a file. Raises
        ``ImageError`` for what is no picture.
        """
        return self.predict_batch([image])[0]

    def predict_batch(self, images: Iterable[ImageLike]) -> list[list[FacePrediction]]:
        """Every face of every picture; the faces of all go through the network together."""
        pictures = [read(image).rgb for image in images]
        found = [self.finder.find(rgb) for rgb in pictures]
        crops = [self.crop(rgb, face) for rgb, faces in zip(pictures, found, strict=True) for face in faces]
        answers = iter(self.describe([face for faces in found for face in faces], self.outputs(self.stacked(crops))))
        return [[next(answers) for _ in faces] for faces in found]

    def predict_faces(self, crops: Sequence[ImageLike]) -> list[FacePrediction]:
        """One answer a picture that is a face already, of any size."""
        pictures = [read(crop).rgb for crop in crops]
        whole = [Detection((0.0, 0.0, float(rgb.shape[1]), float(rgb.shape[0])), 1.0) for rgb in pictures]
        faces = self.stacked([resize(rgb, self.card.input_size) for rgb in pictures])
        return self.describe(whole, self.outputs(faces))

    def stream(
        self, frames: Iterable[np.ndarray], fps: float = 25.0, *, detect_every: int | None = None, smooth_s: float = 0.3
    ) -> Generator[Frame[FacePrediction], None, None]:
        """Every frame (H x W x 3, RGB, uint8) with its faces, in order; works ahead in threads, with bounded memory.

        ``fps`` says how fast they were taken; faces are detected in every ``detect_every`` frames (None: six times a second)
        and tracked in between; ``smooth_s`` is the time constant of the averages, in seconds (0: none). An error in a thread
        is raised here; closing the iterator ends the threads.

            for frame in predictor.stream(frames, fps=30):
                print(frame.time_s, [(one.track, one.face.expression) for one in frame.faces])
        """
        return stream(self, numbered(frames, fps), Streaming(fps, detect_every, smooth_s))

    def crop(self, rgb: np.ndarray, face: Detection) -> np.ndarray:
        """A detected face as the network wants it (S x S x 3, uint8)."""
        return self.finder.crop(rgb, face, self.card.input_size)

    def stacked(self, crops: Sequence[np.ndarray]) -> np.ndarray:
        """Crops as one array, N x S x S x 3; N may be 0."""
        size = self.card.input_size
        return np.stack(crops) if len(crops) else np.zeros((0, size, size, 3), np.uint8)

    def outputs(self, faces: np.ndarray) -> dict[str, np.ndarray]:
        """Outputs by task for uint8 RGB crops, N x S x S x 3: N x K probabilities, or N x 2 for affect."""
        size = self.card.input_size
        if faces.dtype != np.uint8 or faces.shape[1:] != (size, size, 3):
            raise ValueError(f"faces must be uint8, N x {size} x {size} x 3; these are {faces.dtype} {faces.shape}")
        tasks = list(self.card.tasks)
        if len(faces) == 0:
            return {task: np.zeros((0, len(classes)), np.float32) for task, classes in self.card.tasks.items()}
        return dict(zip(tasks, self._run(tasks, faces), strict=True))

    def with_parts(self, faces: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, dict[str, np.ndarray]]]:
        """The outputs, and what every member of an ensemble says: member -> task -> outputs as the whole's; N is at least 1.

        Members and tasks of no weight are left out; a model of one network has no parts.
        """
        names = [output.name for output in self._session.get_outputs()]
        found = dict(zip(names, self._run(names, faces), strict=True))
        parts: dict[str, dict[str, np.ndarray]] = {}
        for name in names:
            member, _, task = name.rpartition("/")
            if name not in self.card.tasks:
                parts.setdefault(member, {})[task] = found[name]
        return {task: found[task] for task in self.card.tasks}, parts

    def _run(self, names: list[str], faces: np.ndarray) -> list[np.ndarray]:
        parts = [self._session.run(names, {"faces": faces[start : start + _BATCH]}) for start in range(0, len(faces), _BATCH)]
        return [np.concatenate(part) for part in zip(*parts, strict=True)]

    def describe(self, found: Sequence[Detection], outputs: dict[str, np.ndarray]) -> list[FacePrediction]:
        """Detections with the outputs of their faces, in words; a member's ``parts`` may lack a task."""
        return [_describe(self.card, face, outputs, index) for index, face in enumerate(found)]


def _describe(card: Card, face: Detection, outputs: dict[str, np.ndarray], index: int) -> FacePrediction:
    probabilities = {
        task: {name: float(p) for name, p in zip(classes, outputs[task][index], strict=True)}
        for task, classes in card.tasks.items()
        if task in outputs and TASKS[task].kind == "classification"
    }
    best = {task: max(values, key=values.__getitem__) for task, values in probabilities.items()}
    expression = best.get("expression")
    ranked = sorted(probabilities.get("expression", {}).items(), key=lambda pair: -pair[1])
    affect = outputs["affect"][index] if "affect" in outputs else (None, None)
    return FacePrediction(
        box_xyxy=face.box_xyxy,
        detection_score=face.score,
        expression=expression,
        emoji=EMOJI[expression] if expression else None,
        confidence=ranked[0][1] if ranked else None,
        certain=ranked[0][1] >= card.certain_above if ranked else None,
        top3=ranked[:3],
        probabilities=probabilities,
        valence=None if affect[0] is None else float(affect[0]),
        arousal=None if affect[1] is None else float(affect[1]),
        age=best.get("age"),
        gender=best.get("gender"),
        race=best.get("race"),
    )
