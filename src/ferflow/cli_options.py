"""Options that several commands have: which model, and where a detector's file lies. It knows no command and loads nothing."""

from pathlib import Path
from typing import Annotated

import typer

ModelOption = Annotated[str, typer.Option(help="A release folder, an ONNX export, or models:/NAME@ALIAS.")]


def detector_files(detector: str, file: Path | None) -> tuple[tuple[str, Path], ...]:
    """The file of a detector as ``ferflow.load`` takes it; ``auto`` with a file is yunet, which auto prefers."""
    return ((detector if detector != "auto" else "yunet", file),) if file else ()
