"""Trained networks from their folders: a member or student alone, or the ensemble as one network.

It knows where nothing lies: folders are given. Stages that need networks again (distil, export) share it.
"""

import json
from pathlib import Path
from typing import Any

import torch

from ferflow.card import Card
from ferflow.combiners import Combination
from ferflow.model import EnsembleNetwork, FaceNetwork, build
from ferflow.params import Member
from ferflow.vocabulary import TASKS


def load_network(member: Member, folder: Path) -> FaceNetwork:
    """A trained network; its card says which tasks it has."""
    card = Card.model_validate(json.loads((folder / "card.json").read_text()))
    network = build(member, card.tasks, card.input_size, weights=False)
    network.load_state_dict(torch.load(folder / "weights.pt", weights_only=True))
    network.temperatures = card.temperatures
    return network.eval()


def load_alone(member: Member, folder: Path) -> tuple[Card, EnsembleNetwork]:
    """One trained network as a release is: its card and outputs without auxiliary tasks."""
    card = Card.model_validate(json.loads((folder / "card.json").read_text()))
    tasks = {task: classes for task, classes in card.tasks.items() if not TASKS[task].auxiliary}
    network = EnsembleNetwork([load_network(member, folder)], {task: Combination([1.0]) for task in tasks}).eval()
    return card.model_copy(update={"tasks": tasks}), network


def load_ensemble(ensemble: dict[str, Any], members: dict[str, Member], folder: Path) -> EnsembleNetwork:
    """The ensemble that ``ensemble.json`` describes; its members lie in ``folder``."""
    networks = [load_network(members[name], folder / name) for name in ensemble["card"]["members"]]
    return EnsembleNetwork(networks, combinations_of(ensemble)).eval()


def combinations_of(ensemble: dict[str, Any]) -> dict[str, Combination]:
    """How ``ensemble.json`` says that its members are combined, task by task."""
    return {task: Combination(**how) for task, how in ensemble["combinations"].items()}
