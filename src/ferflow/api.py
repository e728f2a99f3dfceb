"""``ferflow.load``: a release from wherever it lies, ready to be asked.

It knows where a release may lie and which finder it gets, and nothing of what either does.
"""

from pathlib import Path
from typing import Any

from ferflow import starter
from ferflow.finding import Finder, Finding
from ferflow.inference import Predictor

_REGISTRY = "models:/"


def load(model: str | Path = "models/release", *, threads: int = 1, **finding: Any) -> Predictor:
    """A release, ready to be asked.

    ``model`` is the folder of a release, an ONNX export, ``starter`` (the small network that ferflow carries), or a version
    in MLflow's registry (``models:/ferflow@champion``, ``models:/ferflow/3``), which needs MLflow; ``finding`` says how
    faces are found (``ferflow.Finding``: detector, threshold, min_size, margin, align, largest, max_faces).

    Raises ``FileNotFoundError`` where nothing is there, ``ModelError`` for a file that is no release, ``LookupError`` for a
    version that the registry does not have, or where it cannot be asked.

        predictor = ferflow.load("models/release", detector="haar")
        for face in predictor.predict("photo.jpg"):
            print(face.expression, face.confidence)
    """
    path: str | Path = starter.MODEL if model == "starter" else model
    if str(model).startswith(_REGISTRY):
        from ferflow import tracking  # takes seconds to load

        if not tracking.has_store():
            raise LookupError(f"{model}: no MLflow store here; set MLFLOW_TRACKING_URI, or go where mlflow.db lies")
        try:
            path = tracking.registered_file(str(model))
        except tracking.TrackingError as error:
            raise LookupError(f"MLflow cannot give {model}: {error}") from error
    return Predictor(path, Finder(Finding(**finding)), threads)
