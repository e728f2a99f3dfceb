"""Networks as plain values, and built anew from them: what weights alone do not say.

``settings`` are ``{"members": [{"name", "entry", "tasks", "temperatures"}], "combinations"}``: every member's
entry of params.yaml with what it inherited, the classes of its heads, and how the members are combined task by task.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ferflow.combiners import Combination
from ferflow.exporters import ExportError, Run
from ferflow.model import EnsembleNetwork, FaceNetwork, build
from ferflow.params import Member

Tasks = dict[str, tuple[str, ...]]


def settings_of(
    entries: dict[str, Member], network: EnsembleNetwork, classes: list[dict[str, tuple[str, ...]]]
) -> dict[str, Any]:
    """Plain values from which ``network_of`` builds ``network``; ``classes`` has every member's tasks with all heads."""
    return {
        "members": [
            {"name": name, "entry": _portable(entry), "tasks": tasks, "temperatures": dict(_member(network, index).temperatures)}
            for index, ((name, entry), tasks) in enumerate(zip(entries.items(), classes, strict=True))
        ],
        "combinations": {task: how.as_dict() for task, how in network.combinations.items()},
    }


def _member(network: EnsembleNetwork, index: int) -> FaceNetwork:
    member = network.members[index]
    assert isinstance(member, FaceNetwork)
    return member


def _portable(entry: Member) -> dict[str, Any]:
    """An entry without the path of pretrained weights: the trained ones lie beside it, and the path is nobody else's."""
    return entry.model_copy(update={"pretrained": bool(entry.pretrained)}).model_dump(mode="json")


def network_of(settings: dict[str, Any], input_size: int, weights: dict[str, Tensor], path: Path) -> EnsembleNetwork:
    """The network that ``settings`` describe, with ``weights``; ``ExportError`` where they do not belong together."""
    try:
        members = []
        for member in settings["members"]:
            tasks = {task: tuple(classes) for task, classes in member["tasks"].items()}
            members.append(build(Member.model_validate(member["entry"]), tasks, input_size, weights=False))
            members[-1].temperatures = member["temperatures"]
        network = EnsembleNetwork(members, {task: Combination(**how) for task, how in settings["combinations"].items()})
        network.load_state_dict(weights)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ExportError(f"{path}: its settings and its weights do not make a network: {error}") from error
    return network.eval()


def running(network: EnsembleNetwork) -> Run:
    """Its outputs for faces as arrays."""

    def run(faces: np.ndarray) -> list[np.ndarray]:
        with torch.no_grad():
            return [output.numpy() for output in network(torch.from_numpy(faces))]

    return run
