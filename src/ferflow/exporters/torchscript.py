"""Exporter ``torchscript``: a traced graph for ``torch.jit.load``, from Python or C++, without this package."""

import warnings
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import torch

from ferflow.card import CARD_KEY
from ferflow.exporters import ExportError, Run, Source, card_of
from ferflow.registry import register

FILE = "model_torchscript.pt"


@register
class TorchScript:
    """TorchScript, any batch size. PyTorch calls it outdated; what embeds ``libtorch`` still needs it."""

    exact = True
    runtime = "PyTorch (TorchScript)"

    @staticmethod
    def write(source: Source, folder: Path) -> Path:
        """Write ``model_torchscript.pt``, with the card among its extra files."""
        folder.mkdir(parents=True, exist_ok=True)
        size = source.card.input_size
        faces = torch.zeros((2, size, size, 3), dtype=torch.uint8)
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # it is outdated, and tracing says of every fixed size that it is fixed
            traced = torch.jit.trace(source.network.eval(), (faces,), check_trace=False)  # type: ignore[no-untyped-call]
            made = BytesIO()
            torch.jit.save(traced, made, _extra_files={CARD_KEY: source.card.model_dump_json()})
        _without_origin(made, folder / FILE)
        return folder / FILE

    @staticmethod
    def read(path: Path) -> Run:
        """The loaded graph on the CPU."""
        extra = {CARD_KEY: ""}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                loaded = torch.jit.load(str(path), map_location="cpu", _extra_files=extra)  # type: ignore[no-untyped-call]
        except (RuntimeError, ValueError) as error:
            raise ExportError(f"TorchScript cannot load {path}: {error}") from error
        text = extra[CARD_KEY]
        card_of(text.decode() if isinstance(text, bytes) else text, path)

        def run(faces: np.ndarray) -> list[np.ndarray]:
            with torch.no_grad():
                return [output.numpy() for output in loaded(torch.from_numpy(faces))]

        return run


def _without_origin(made: BytesIO, path: Path) -> None:
    """Write the archive without its notes for debugging: they hold paths of the machine that it was made on."""
    with ZipFile(made) as archive, ZipFile(path, "w") as kept:
        for entry in archive.infolist():
            if not entry.filename.endswith(".debug_pkl"):
                kept.writestr(entry.filename, archive.read(entry))
