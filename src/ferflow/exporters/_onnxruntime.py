"""ONNX files in ONNX Runtime, for the formats that it runs: opened by ``Predictor``, as the service opens them."""

from pathlib import Path

from ferflow.exporters import ExportError, Run
from ferflow.finding import Finder, Finding
from ferflow.inference import ModelError, Predictor


def session(path: Path) -> Run:
    """The graph on one thread of the CPU; ``ExportError`` where the file is no export."""
    try:
        predictor = Predictor(path, Finder(Finding("none")))
    except ModelError as error:
        raise ExportError(f"{path}: {error}") from error
    return lambda faces: list(predictor.outputs(faces).values())
