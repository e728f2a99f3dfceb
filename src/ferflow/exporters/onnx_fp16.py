"""Exporter ``onnx_fp16``: the ONNX graph with its large weights stored in sixteen bits: half the size, the same speed.

ONNX Runtime turns them back into 32 bits when it opens the file, and computes as with the plain one. Weights lose what
lies beyond their eleventh binary digit.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ferflow.exporters import ExportError, Run, Source
from ferflow.exporters._onnxruntime import session
from ferflow.registry import register

FILE = "model_fp16.onnx"
_LARGE = 1024  # numbers; smaller tensors (biases, tables) stay as they are
_LARGEST = float(np.finfo(np.float16).max)


@register
class OnnxFp16:
    """ONNX with weights in sixteen bits for ONNX Runtime, any batch size."""

    exact = False
    runtime = "ONNX Runtime"

    @staticmethod
    def write(source: Source, folder: Path) -> Path:
        """Write ``model_fp16.onnx`` from ``source.onnx``. Raises ``ExportError`` for a weight that is too large."""
        folder.mkdir(parents=True, exist_ok=True)
        model = onnx.load(source.made())
        casts = []
        for tensor in model.graph.initializer:
            if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < _LARGE:
                continue
            values = numpy_helper.to_array(tensor)
            if np.abs(values).max() > _LARGEST:
                raise ExportError(f"onnx_fp16: a weight of {tensor.name} is larger than sixteen bits hold: export onnx")
            name = tensor.name
            tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}_fp16"))
            casts.append(helper.make_node("Cast", [f"{name}_fp16"], [name], to=TensorProto.FLOAT))
        nodes = [*casts, *model.graph.node]
        del model.graph.node[:]
        model.graph.node.extend(nodes)
        onnx.checker.check_model(model)
        onnx.save_model(model, folder / FILE)
        return folder / FILE

    @staticmethod
    def read(path: Path) -> Run:
        """Its session on the CPU."""
        return session(path)
