"""The BentoML service: every face in a picture, by the champion of MLflow's registry.

Plain ``bentoml serve`` in the project's root finds it through pyproject.toml.
"""

import logging
import os
from pathlib import Path
from typing import Any

import bentoml
from bentoml.exceptions import InvalidArgument
from pydantic import BaseModel, Field

from ferflow import params
from ferflow.finding import Finder, Finding
from ferflow.images import ImageError, decode
from ferflow.inference import Predictor
from ferflow.serving.guard import RequestGuard

log = logging.getLogger("ferflow.serving")


class Face(BaseModel):
    """One face of the picture."""

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


class Answer(BaseModel):
    """Every face found, best detection first, and which model looked at them."""

    faces: list[Face]
    model_version: str
    width: int
    height: int


def find_model(settings: params.Params) -> tuple[Path, str]:
    """The model to serve and its version: ``FERFLOW_MODEL`` (a path), else the champion, else ``models/release``."""
    if path := os.environ.get("FERFLOW_MODEL"):
        return Path(path), f"file {path}"
    from ferflow import tracking  # takes seconds to load

    try:
        if tracking.has_store() and (found := tracking.champion_model(settings.register_.model)):
            return found[0], f"{settings.register_.model}/{found[1]}"
        log.warning("no champion in MLflow's registry: serving models/release")
    except tracking.TrackingError as error:
        log.warning("MLflow's registry cannot be asked, so models/release is served: %s", error)
    return Path("models/release"), "models/release"


@bentoml.service(name="ferflow", http={"host": "127.0.0.1", "port": 3000}, traffic={"timeout": 60}, threads=2)
class FerFlow:
    """Facial expressions of every face in a picture."""

    def __init__(self) -> None:
        self._settings = params.load()
        model, self._version = find_model(self._settings)
        serve = self._settings.serve
        finding = Finding(serve.detector, tuple(serve.detector_files.items()), max_faces=serve.max_faces)
        self._predictor = Predictor(model, Finder(finding))

    @bentoml.api(route="/predict")
    def predict(self, image: Path) -> Answer:
        """Send a picture as the form field ``image``; an answer without faces is an empty list."""
        serve = self._settings.serve
        try:
            rgb = decode(image.read_bytes(), max_pixels=int(serve.max_megapixels * 1e6))
        except ImageError as error:
            raise InvalidArgument(str(error)) from error
        faces = self._predictor.predict(rgb)
        height, width = rgb.shape[:2]
        found = [Face.model_validate(face.as_dict()) for face in faces]
        return Answer(faces=found, model_version=self._version, width=width, height=height)

    @bentoml.api(route="/model")
    def model(self) -> dict[str, Any]:
        """Which model answers, and its card."""
        return {"version": self._version, "card": self._predictor.card.model_dump()}


FerFlow.add_asgi_middleware(  # type: ignore[attr-defined]
    RequestGuard, max_bytes=int(params.load().serve.max_megabytes * 1e6)
)
