"""Export formats, one file each: a network becomes files that run without the code that trained it.

An entry is a class with two static methods. ``write(source, folder) -> Path`` writes the format's file or folder, with the
card in it where the format has a place for it; ``read(path) -> Run`` opens it in its own runtime, for the parity check.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ferflow.card import Card

if TYPE_CHECKING:
    import torch

Run = Callable[[np.ndarray], list[np.ndarray]]  # uint8 faces (N x S x S x 3) to the outputs, in the order of the card's tasks


@dataclass(frozen=True)
class Source:
    """What is exported.

    ``network`` maps uint8 faces (N x S x S x 3) to a tuple of outputs, one a task of ``card``; ``settings`` has what builds
    it anew (members' entries of params.yaml and how they are combined); ``calibration`` are training faces for formats that
    measure ranges. ``onnx`` is where the ONNX file lies, for formats that are made from it.
    """

    network: "torch.nn.Module"
    card: Card
    onnx: Path | None = None
    calibration: np.ndarray = field(default_factory=lambda: np.zeros((0, 1, 1, 3), np.uint8))
    settings: dict[str, Any] = field(default_factory=dict)
