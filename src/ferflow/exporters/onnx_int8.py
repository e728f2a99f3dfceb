"""Exporter ``onnx_int8``: the ONNX graph with its convolutions and matrices in eight bits, calibrated on training faces.

Preprocessing, heads and what combines the members stay in 32 bits: they are cheap, and answers are sensitive to them.

Static quantisation with QDQ nodes: Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference" (CVPR 2018), as ONNX Runtime does it.
"""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from ferflow.card import CARD_KEY
from ferflow.exporters import ExportError, Run, Source
from ferflow.exporters._onnxruntime import session
from ferflow.registry import register

FILE = "model_int8.onnx"
_BATCH = 50  # faces at once; ranges do not depend on it


@register
class OnnxInt8:
    """ONNX in eight bits for ONNX Runtime, any batch size."""

    exact = False
    runtime = "ONNX Runtime"

    @staticmethod
    def write(source: Source, folder: Path) -> Path:
        """Write ``model_int8.onnx`` from ``source.onnx``, with ranges measured on ``source.calibration``.

        Raises ``ExportError`` without faces to calibrate on.
        """
        if not len(source.calibration):
            raise ExportError("onnx_int8 measures its ranges on training faces, and there are none")
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / FILE
        with TemporaryDirectory() as scratch:
            ready = Path(scratch) / "ready.onnx"
            quant_pre_process(source.made(), ready, skip_symbolic_shape=True)
            quantize_static(
                ready,
                path,
                _Faces(source.calibration),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=["Conv", "MatMul", "Gemm"],
                nodes_to_exclude=_sensitive(onnx.load(ready)),
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.MinMax,
                extra_options={"MatMulConstBOnly": True},  # products of two activations lose most
            )
        model = onnx.load(path)
        del model.metadata_props[:]
        onnx.helper.set_model_props(model, {CARD_KEY: source.card.model_dump_json()})
        onnx.save_model(model, path)
        return path

    @staticmethod
    def read(path: Path) -> Run:
        """Its session on the CPU."""
        return session(path)


def _sensitive(model: onnx.ModelProto) -> list[str]:
    """The heads' layers and the matrices of the combinations, by the names that their weights have in the network."""
    return [node.name for node in model.graph.node if any(".heads." in name or name.endswith("_matrix") for name in node.input)]


class _Faces(CalibrationDataReader):
    """Training faces in batches, as the quantiser wants them."""

    def __init__(self, faces: np.ndarray) -> None:
        self.batches: Iterator[np.ndarray] = (faces[start : start + _BATCH] for start in range(0, len(faces), _BATCH))

    def get_next(self) -> dict[str, np.ndarray] | None:
        batch = next(self.batches, None)
        return None if batch is None else {"faces": batch}
