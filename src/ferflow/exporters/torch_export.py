"""Exporter ``torch_export``: a ``.pt2`` archive for ``torch.export.load``, PyTorch's own format of today."""

import warnings
from pathlib import Path

import numpy as np
import torch

from ferflow.card import CARD_KEY
from ferflow.exporters import ExportError, Run, Source, card_of
from ferflow.registry import register

FILE = "model.pt2"


@register
class TorchExport:
    """torch.export, any batch size."""

    exact = True
    runtime = "PyTorch (torch.export)"

    @staticmethod
    def write(source: Source, folder: Path) -> Path:
        """Write ``model.pt2``, with the card among its extra files."""
        folder.mkdir(parents=True, exist_ok=True)
        size = source.card.input_size
        faces = torch.zeros((2, size, size, 3), dtype=torch.uint8)
        batch = torch.export.Dim("batch", min=1, max=2**16)
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # of its own internals
            program = torch.export.export(source.network.eval(), (faces,), dynamic_shapes=({0: batch},))
            for node in program.graph.nodes:
                node.meta.pop("stack_trace", None)  # lines of files of the machine that it was made on
            torch.export.save(program, folder / FILE, extra_files={CARD_KEY: source.card.model_dump_json()})
        return folder / FILE

    @staticmethod
    def read(path: Path) -> Run:
        """The loaded program on the CPU."""
        extra = {CARD_KEY: ""}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                program = torch.export.load(path, extra_files=extra)
        except OSError:
            raise
        except Exception as error:  # it has no common base class of its errors
            raise ExportError(f"torch.export cannot load {path}: {error}") from error
        card_of(extra[CARD_KEY], path)
        module = program.module()

        def run(faces: np.ndarray) -> list[np.ndarray]:
            with torch.no_grad():
                return [output.numpy() for output in module(torch.from_numpy(faces))]

        return run
