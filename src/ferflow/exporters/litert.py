"""Exporter ``litert``: LiteRT (TensorFlow Lite), for phones and small boards. Made from the ONNX file in the tool environment."""

from ferflow.exporters._tensorflow import ToolFormat
from ferflow.registry import register

FILE = "model.tflite"


@register
class LiteRt(ToolFormat):
    """LiteRT (TensorFlow Lite), for phones and small boards; any batch size, preprocessing inside."""

    file = FILE
    runtime = "LiteRT"
