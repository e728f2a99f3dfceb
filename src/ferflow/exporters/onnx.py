"""Exporter ``onnx``: one graph with its preprocessing, and the card in its metadata."""

import warnings
from pathlib import Path

import onnx
import torch

from ferflow.card import CARD_KEY, Card, part_name
from ferflow.exporters import Run, Source
from ferflow.exporters._onnxruntime import session
from ferflow.model import EnsembleNetwork
from ferflow.registry import register

FILE = "model.onnx"


@register
class Onnx:
    """ONNX for ONNX Runtime, any batch size."""

    exact = True
    runtime = "ONNX Runtime"

    @staticmethod
    def write(source: Source, folder: Path) -> Path:
        """Write ``model.onnx``: input ``faces`` (uint8, N x S x S x 3), one float output a task, by its name.

        Of an ensemble the members' own answers are outputs, too, called ``member/task``: they are computed in any case.
        """
        return _write(source.network, source.card, folder)

    @staticmethod
    def read(path: Path) -> Run:
        """Its session on the CPU."""
        return session(path)


class _WithParts(torch.nn.Module):
    def __init__(self, network: EnsembleNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, faces: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return self.network.with_parts(faces)


def _write(network: torch.nn.Module, card: Card, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FILE
    faces = torch.zeros((2, card.input_size, card.input_size, 3), dtype=torch.uint8)
    names = list(card.tasks)
    if len(card.members) > 1 and isinstance(network, EnsembleNetwork):
        members = list(card.members)
        names += [part_name(members[index], task) for index, task in network.parts]
        network = _WithParts(network)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns about its own internals
        program = torch.onnx.export(
            network.eval(),
            (faces,),
            dynamo=True,
            input_names=["faces"],
            output_names=names,
            dynamic_shapes={"faces": {0: torch.export.Dim("batch", min=1, max=2**16)}},
            verbose=False,
        )
    assert program is not None  # it is None only for dynamo=False
    model = program.model_proto
    _forget_where_it_was_made(model)
    onnx.helper.set_model_props(model, {CARD_KEY: card.model_dump_json()})
    onnx.checker.check_model(model)
    onnx.save_model(model, path, save_as_external_data=False)
    return path


def _forget_where_it_was_made(model: onnx.ModelProto) -> None:
    """Drop the exporter's notes: they hold paths and line numbers, so that the same network would not give the same bytes."""
    parts = [model, model.graph, *model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output]
    for function in model.functions:
        parts += [function, *function.node, *function.value_info]
    for part in parts:
        del part.metadata_props[:]
        part.doc_string = ""
