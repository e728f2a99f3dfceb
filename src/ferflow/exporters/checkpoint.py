"""Exporter ``checkpoint``: one file with all that is known: weights, settings, card, epochs, metrics."""

import json
from pathlib import Path

import torch

from ferflow.exporters import ExportError, Run, Source, card_of
from ferflow.exporters._rebuilt import network_of, running
from ferflow.registry import register

FILE = "checkpoint.pt"


@register
class Checkpoint:
    """A file for ``torch.load(weights_only=True)``: it runs no code when it is read; for training on, and for archives."""

    exact = True
    runtime = "PyTorch"

    @staticmethod
    def write(source: Source, folder: Path) -> Path:
        """Write ``checkpoint.pt``: a dictionary of ``weights``, ``settings``, ``card`` and ``training``."""
        folder.mkdir(parents=True, exist_ok=True)
        content = {"card": source.card.model_dump(mode="json"), "settings": source.settings, "training": source.training}
        torch.save({"weights": source.network.state_dict(), **content}, folder / FILE)
        return folder / FILE

    @staticmethod
    def read(path: Path) -> Run:
        """The network built anew from its settings."""
        try:
            content = torch.load(path, weights_only=True, map_location="cpu")
        except OSError:
            raise
        except Exception as error:  # what is no archive is read as a pickle, which can fail in any way
            raise ExportError(f"PyTorch cannot load {path}: {error}") from error
        known = content if isinstance(content, dict) else {}
        card = card_of(json.dumps(known.get("card")), path)
        return running(network_of(known["settings"], card.input_size, known["weights"], path))
