"""ferflow: facial-expression recognition as a reproducible factory.

From Python: ``ferflow.load("models/release").predict("photo.jpg")``. Nothing heavy is imported until it is asked for. It owns
which names are meant for others, and does none of the work.
"""

from typing import TYPE_CHECKING, Any

from ferflow import components

if TYPE_CHECKING:
    from ferflow.api import load
    from ferflow.finding import Finder, Finding
    from ferflow.images import ImageError
    from ferflow.inference import FacePrediction, ModelError, Predictor

__all__ = ["FacePrediction", "Finder", "Finding", "ImageError", "ModelError", "Predictor", "load"]
_PLACES = {"load": "api", "Finder": "finding", "Finding": "finding", "ImageError": "images"}

components.apply()  # here, as everything else comes after: MLflow and Prefect read the environment when they are imported


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"ferflow has no {name!r}; it has {', '.join(__all__)}")
    from importlib import import_module

    return getattr(import_module(f"ferflow.{_PLACES.get(name, 'inference')}"), name)
