"""Exporter ``openvino``: OpenVINO's intermediate representation, made from the ONNX file, weights in 32 bits."""

from pathlib import Path

import numpy as np
import openvino

from ferflow.card import CARD_KEY
from ferflow.exporters import ExportError, Run, Source, card_of
from ferflow.registry import register

FILE = "model_openvino.xml"


@register
class OpenVino:
    """OpenVINO, any batch size."""

    exact = True
    runtime = "OpenVINO"

    @staticmethod
    def write(source: Source, folder: Path) -> Path:
        """Write ``model_openvino.xml`` (the graph, with the card) and ``model_openvino.bin`` (the weights)."""
        folder.mkdir(parents=True, exist_ok=True)
        model = openvino.convert_model(source.made())
        model.set_rt_info(source.card.model_dump_json(), [CARD_KEY])
        openvino.save_model(model, folder / FILE, compress_to_fp16=False)
        return folder / FILE

    @staticmethod
    def read(path: Path) -> Run:
        """The compiled graph on one thread of the CPU, in full precision (it would choose less where a CPU offers it)."""
        core = openvino.Core()
        try:
            model = core.read_model(path)
            card = card_of(model.get_rt_info([CARD_KEY]).value if model.has_rt_info([CARD_KEY]) else None, path)
        except RuntimeError as error:
            raise ExportError(f"OpenVINO cannot load {path}: {error}") from error
        settings = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
        compiled = core.compile_model(model, "CPU", settings)
        tasks = list(card.tasks)

        def run(faces: np.ndarray) -> list[np.ndarray]:
            found = compiled({"faces": faces})
            return [np.array(found[task]) for task in tasks]

        return run
