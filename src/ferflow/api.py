"""``ferflow.load``: a release from wherever it lies, ready to be asked."""

from pathlib import Path
from typing import Any

from ferflow.finding import Finder, Finding
from ferflow.inference import Predictor

_REGISTRY = "models:/"


def load(model: str | Path = "models/release", *, threads: int = 1, **finding: Any) -> Predictor:
    """A release, ready to be asked.

    ``model`` is the folder of a release, an ONNX export, or a version in MLflow's registry (``models:/ferflow@champion``,
    ``models:/ferflow/3``), which needs MLflow; ``finding`` says how faces are found (``ferflow.Finding``: detector,
    threshold, min_size, margin, align, largest, max_faces). Raises ``FileNotFoundError`` where nothing is there,
    ``ModelError`` for a file that is no release, ``LookupError`` for a version that the registry does not have.

        predictor = ferflow.load("models/release", detector="haar")
        for face in predictor.predict("photo.jpg"):
            print(face.expression, face.confidence)
    """
    path: str | Path = model
    if str(model).startswith(_REGISTRY):
        from ferflow import tracking  # takes seconds to load

        path = tracking.registered_file(str(model))
    return Predictor(path, Finder(Finding(**finding)), threads)
