"""Exporter ``litert``: LiteRT (TensorFlow Lite), for phones and small boards. Made from the ONNX file in the tool environment."""

from pathlib import Path

from ferflow.exporters import Run, Source
from ferflow.exporters._tensorflow import convert, missing, running
from ferflow.registry import register

FILE = "model.tflite"


@register
class LiteRt:
    """LiteRT (TensorFlow Lite), for phones and small boards; any batch size, preprocessing inside."""

    exact = True
    runtime = "LiteRT"
    missing = staticmethod(missing)

    @staticmethod
    def write(source: Source, folder: Path) -> Path:
        """Write ``model.tflite``; ``ExportError`` for a graph with an operation that the conversion does not know."""
        return convert(source, folder / FILE)

    @staticmethod
    def read(path: Path) -> Run:
        """It answers in a process of the tool environment."""
        return running(path)
