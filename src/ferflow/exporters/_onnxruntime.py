"""ONNX files in ONNX Runtime, for the formats that it runs."""

from pathlib import Path

import onnxruntime

from ferflow.card import CARD_KEY
from ferflow.exporters import ExportError, Run, card_of


def session(path: Path) -> Run:
    """The graph on one thread of the CPU; ``ExportError`` where the file is no export."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    try:
        opened = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    except OSError:
        raise
    except Exception as error:  # ONNX Runtime has no common base class of its errors
        raise ExportError(f"ONNX Runtime cannot load {path}: {error}") from error
    card = card_of(opened.get_modelmeta().custom_metadata_map.get(CARD_KEY), path)
    tasks = list(card.tasks)
    return lambda faces: opened.run(tasks, {"faces": faces})
