"""What the service says: the types of its answers, and rows of the prediction log. It knows no HTTP and no model's file."""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from ferflow.images import image_statistics, to_gray
from ferflow.inference import FacePrediction
from ferflow.vocabulary import entropy, probability_column

_HEADS = {"expression": ("expression", "emoji", "confidence", "certain"), "affect": ("valence", "arousal")}


class _Said(BaseModel):
    model_config = ConfigDict(protected_namespaces=())


class MemberAnswer(_Said):
    """What one member of an ensemble says of a face."""

    expression: str | None
    confidence: float | None
    probabilities: dict[str, dict[str, float]]
    valence: float | None
    arousal: float | None


class Face(_Said):
    """One face. What ``serve.heads`` keeps back, or the model does not know, is null."""

    id: str = Field(description="of this prediction: for /feedback and /forget")
    box_xyxy: tuple[float, float, float, float] = Field(description="left, top, right, bottom, in pixels")
    detection_score: float = Field(description="the detector's score, 0 to 1")
    expression: str | None
    emoji: str | None
    confidence: float | None = Field(description="the probability of the expression")
    certain: bool | None = Field(description="whether the confidence is high enough to be relied on")
    top3: list[tuple[str, float]] = Field(description="the three most probable expressions")
    probabilities: dict[str, dict[str, float]] = Field(description="task -> class -> probability")
    valence: float | None = Field(description="unpleasant -1 to pleasant 1")
    arousal: float | None = Field(description="calm -1 to excited 1")
    age: str | None = Field(description="age group, years")
    gender: str | None
    race: str | None
    members: dict[str, MemberAnswer] | None = Field(None, description="every member's own answer, where it was asked for")


class Timing(_Said):
    """Milliseconds."""

    decode: float
    detect: float
    classify: float
    total: float


class Answer(_Said):
    """Every face found, best detection first, and which model looked at them."""

    request_id: str
    model_version: str
    width: int
    height: int
    faces: list[Face]
    timing_ms: Timing


class Problem(_Said):
    """Why there is no answer."""

    error: str


class Answers(_Said):
    """An answer a picture, in order; one that is no picture has an error."""

    request_id: str
    answers: list[Answer | Problem]


class CropsAnswer(_Said):
    """A face a crop, in order."""

    request_id: str
    model_version: str
    faces: list[Face]


class VideoFace(_Said):
    """A face of a frame; ``track`` is the same number as long as it is the same face."""

    id: str = Field(description="of this prediction: for /feedback and /forget")
    track: int
    box_xyxy: tuple[float, float, float, float]
    expression: str | None
    emoji: str | None
    confidence: float | None
    certain: bool | None
    valence: float | None
    arousal: float | None


class VideoFrame(_Said):
    """A frame of a video."""

    time_s: float
    faces: list[VideoFace]


class VideoAnswer(_Said):
    """Every frame with its faces."""

    request_id: str
    model_version: str
    fps: float
    frames: list[VideoFrame]


class Explanation(_Said):
    """Where the answer hangs on: ``heat`` are rows of the crop, 0 to 1; ``png`` the crop with the heat over it, base64."""

    id: str = Field(description="of this prediction: for /feedback and /forget")
    request_id: str
    model_version: str
    box_xyxy: tuple[float, float, float, float]
    task: str
    answer: str
    probability: float
    heat: list[list[float]]
    png: str


class Stored(_Said):
    """Whether feedback was kept."""

    id: str
    stored: bool


class Forgotten(_Said):
    """How much of a prediction was removed."""

    id: str
    rows: int
    crops: int


class ModelInfo(_Said):
    """Which model answers. ``code`` and ``data``: git commit and SHA-256 of the manifest, where MLflow knows them."""

    version: str
    source: str = Field(description="champion, release, starter or file")
    fingerprint: str = Field(description="SHA-256 of the file")
    code: str | None
    data: str | None
    dataset: str
    members: list[str]
    tasks: dict[str, list[str]]
    certain_above: float
    software: str
    card: dict[str, Any]


class ModelName(_Said):
    """A model that a request may name."""

    name: str
    version: str


class ModelNames(_Said):
    """The models that a request may name, and the one that answers where none is named."""

    served: str
    models: list[ModelName]


def face_of(found: FacePrediction, members: dict[str, FacePrediction], heads: tuple[str, ...]) -> dict[str, Any]:
    """A face as the service says it: with an id, without the tasks that ``heads`` keeps back (none: nothing is)."""
    said = {**vars(found), "probabilities": dict(found.probabilities), "id": uuid4().hex}
    names = MemberAnswer.model_fields
    said["members"] = {name: {key: getattr(one, key) for key in names} for name, one in members.items()} or None
    if heads:
        for one in (said, *(said["members"] or {}).values()):
            _keep_back(one, heads)
    return said


def _keep_back(said: dict[str, Any], heads: tuple[str, ...]) -> None:
    for task in ("expression", "affect", "age", "gender", "race"):
        if task not in heads:
            said.get("probabilities", {}).pop(task, None)
            for key in _HEADS.get(task, (task,)):
                if key in said:
                    said[key] = None
            if task == "expression" and "top3" in said:
                said["top3"] = []


def log_row(
    found: FacePrediction | None, said: dict[str, Any], crop: np.ndarray | None, place: tuple[int, int], about: dict[str, Any]
) -> dict[str, Any]:
    """A row of the prediction log: what the model said, whatever leaves the service, and how the crop looks; no picture.

    ``place``: the face's number and how many there are; ``found`` is None for a picture without a face.
    """
    index, faces = place
    row: dict[str, Any] = {"id": said["id"], "time": datetime.now(UTC), "faces": faces, "face": index, **about}
    if found is None or crop is None:
        return row
    for task, shares in found.probabilities.items():
        row |= {probability_column(task, name): share for name, share in shares.items()}
    if expressions := found.probabilities.get("expression"):
        row["entropy"] = float(entropy(np.array([list(expressions.values())]))[0])
    left, top, right, bottom = found.box_xyxy
    row |= {name: getattr(found, name) for name in ("expression", "confidence", "certain", "valence", "arousal")}
    row |= {"face_size": max(right - left, bottom - top), "detection_score": found.detection_score}
    return row | image_statistics(to_gray(crop)[:, :, 0])
