"""Exporter ``keras``: Keras 3, its own file. Made from the ONNX file in the tool environment."""

from ferflow.exporters._tensorflow import ToolFormat
from ferflow.registry import register

FILE = "model.keras"


@register
class Keras(ToolFormat):
    """Keras 3, its own file; any batch size, preprocessing inside."""

    file = FILE
    runtime = "Keras"
