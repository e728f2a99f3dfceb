"""Export formats, one file each: a network becomes files that run without the code that trained it.

An entry is a class that nobody makes an object of. ``write(source, folder) -> Path`` writes the file, with the card;
``read(path) -> Run`` opens it in its own runtime on one thread, for the parity check, and raises ``ExportError`` for a file
that is no export of this format. Its attribute ``exact`` says whether it answers as PyTorch does, or was quantised;
``runtime`` names what runs it. ``missing()``, where an entry has it, says what is not there to make or run it, or nothing. An
entry knows no other exporter; whether an answer is close enough is judged by ``exporting``.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ferflow.card import Card

if TYPE_CHECKING:
    import torch


class ExportError(ValueError):
    """A file that is no export of its format, or one that cannot be made; the message says why and what to do."""


Run = Callable[[np.ndarray], list[np.ndarray]]  # uint8 faces (N x S x S x 3) to the outputs, in the order of the card's tasks


@dataclass(frozen=True)
class Source:
    """What is exported.

    ``network`` maps uint8 faces (N x S x S x 3) to a tuple of outputs, one a task of ``card``; ``settings`` has what builds
    it anew (members' entries of params.yaml and how they are combined); ``calibration`` are training faces for formats that
    measure ranges. ``onnx`` is where the ONNX file lies, for formats that are made from it. ``training`` is what is known of
    how it was trained (epochs, metrics), plain values.
    """

    network: "torch.nn.Module"
    card: Card
    onnx: Path | None = None
    calibration: np.ndarray = field(default_factory=lambda: np.zeros((0, 1, 1, 3), np.uint8))
    settings: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)

    def made(self) -> Path:
        """The ONNX file; ``ExportError`` where there is none yet."""
        if self.onnx is None:
            raise ExportError("this format is made from the ONNX file: write the format onnx first")
        return self.onnx


def card_of(text: str | None, path: Path) -> Card:
    """The card that was found in a file; ``ExportError`` where there is none, or it is no card."""
    try:
        return Card.model_validate_json(text or "")
    except ValueError as error:
        raise ExportError(f"{path} holds no model card: it is no ferflow export; 'ferflow export' makes one") from error
