"""Exporter ``keras``: Keras 3, its own file. Made from the ONNX file in the tool environment."""

from pathlib import Path

from ferflow.exporters import Run, Source
from ferflow.exporters._tensorflow import convert, missing, running
from ferflow.registry import register

FILE = "model.keras"


@register
class Keras:
    """Keras 3, its own file; any batch size, preprocessing inside."""

    exact = True
    runtime = "Keras"
    missing = staticmethod(missing)

    @staticmethod
    def write(source: Source, folder: Path) -> Path:
        """Write ``model.keras``; ``ExportError`` for a graph with an operation that the conversion does not know."""
        return convert(source, folder / FILE)

    @staticmethod
    def read(path: Path) -> Run:
        """It answers in a process of the tool environment."""
        return running(path)
