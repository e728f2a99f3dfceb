"""Exporter ``safetensors``: weights only, and ``model_config.json``, which suffices to build the network for them."""

import json
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save

from ferflow.exporters import ExportError, Run, Source, card_of
from ferflow.exporters._rebuilt import network_of, running
from ferflow.registry import register

FILE, CONFIG = "model.safetensors", "model_config.json"


@register
class Safetensors:
    """Weights that run no code when they are read; the network is built by this package."""

    exact = True
    runtime = "PyTorch"

    @staticmethod
    def write(source: Source, folder: Path) -> Path:
        """Write ``model.safetensors`` and, beside it, ``model_config.json``: the card and ``source.settings``."""
        folder.mkdir(parents=True, exist_ok=True)
        weights = {name: weight.detach().clone().contiguous() for name, weight in source.network.state_dict().items()}
        (folder / FILE).write_bytes(save(weights, {"format": "pt"}))
        config = {"card": source.card.model_dump(mode="json"), "settings": source.settings}
        (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n")
        return folder / FILE

    @staticmethod
    def read(path: Path) -> Run:
        """The network that ``model_config.json`` beside the weights describes."""
        file = path.parent / CONFIG
        if not file.is_file():
            raise ExportError(f"{file} is not there: weights alone do not say which network they belong to")
        try:
            config, weights = json.loads(file.read_text()), load_file(path)
        except (SafetensorError, json.JSONDecodeError) as error:
            raise ExportError(f"{path} and {CONFIG} cannot be read: {error}") from error
        card = card_of(json.dumps(config.get("card")), file)
        return running(network_of(config["settings"], card.input_size, weights, path))
