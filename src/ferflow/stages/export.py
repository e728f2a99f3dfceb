"""Stage export: the ensemble, or one network, as files of every wanted format, checked against PyTorch on test faces."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from ferflow import params
from ferflow.card import Card, task_columns
from ferflow.combiners import Combination
from ferflow.exporters import Source
from ferflow.faces import load_faces
from ferflow.model import EnsembleNetwork
from ferflow.registry import get
from ferflow.released import load_ensemble, load_network
from ferflow.stages import (
    ENSEMBLE,
    MANIFEST,
    MEMBERS,
    RELEASE,
    SPLITS,
    STUDENTS,
    StageError,
    Summary,
    main,
    read_json,
    write_json,
)
from ferflow.tables import load_labels
from ferflow.vocabulary import TASKS


def run() -> Summary:
    """Write ``models/release/``: a file a format, card.json, parity.json and the test predictions as reference.

    Raises ``StageError`` when any probability differs by more than ``export.tolerance`` from PyTorch's, or from
    the predictions that were evaluated.
    """
    settings = params.load()
    card, release, folder = chosen(settings)
    labels = load_labels(MANIFEST, SPLITS)
    faces = load_faces(MANIFEST, labels, ("test",), card.input_size, "rgb", card.tasks)["test"]
    count = min(settings.export.faces, len(faces.ids))
    predictions = pd.read_parquet(folder / "predictions.parquet")
    predictions = predictions[predictions["split"] == "test"]
    evaluated = predictions.set_index("id").loc[faces.ids[:count]]
    RELEASE.mkdir(parents=True, exist_ok=True)
    write_json(card.model_dump(), RELEASE / "card.json")
    predictions.to_parquet(RELEASE / "reference.parquet", compression="zstd", index=False)
    expected = in_pytorch(release, faces.pixels[:count])
    reported = [evaluated[task_columns(task, classes)].to_numpy() for task, classes in card.tasks.items()]
    parity, rows = {}, []
    for name in settings.export.formats:
        exporter: Any = get("exporters", name)
        path = exporter.write(Source(release, card), RELEASE)
        found = exporter.read(path)(faces.pixels[:count])
        parity[name] = {"faces": count, "from_pytorch": compare(expected, found), "from_evaluation": compare(reported, found)}
        rows.append({"file": str(path), "megabytes": round(path.stat().st_size / 1e6, 2), "faces": count} | _as_row(parity[name]))
    write_json(parity, RELEASE / "parity.json")
    _demand(parity, settings.export.tolerance)
    return Summary("export", rows)


def chosen(settings: params.Params) -> tuple[Card, EnsembleNetwork, Path]:
    """What ``export.model`` names: its card as a release, its network, and the folder of its predictions."""
    name = settings.export.model
    if name == "ensemble":
        ensemble = read_json(ENSEMBLE / "ensemble.json")
        card, network, folder = (
            Card.model_validate(ensemble["card"]),
            load_ensemble(ensemble, settings.members, MEMBERS),
            ENSEMBLE,
        )
    else:
        folder = (MEMBERS if name in settings.members else STUDENTS) / name
        card = Card.model_validate(read_json(folder / "card.json"))
        tasks = {task: classes for task, classes in card.tasks.items() if not TASKS[task].auxiliary}
        card = card.model_copy(update={"tasks": tasks})
        network = EnsembleNetwork(
            [load_network(settings.networks[name], folder)], {task: Combination([1.0]) for task in tasks}
        ).eval()
    return card.model_copy(update={"name": "release"}), network, folder


def in_pytorch(network: EnsembleNetwork, faces: np.ndarray) -> list[np.ndarray]:
    """The network's outputs for uint8 faces, task by task."""
    with torch.no_grad():
        parts = [network(torch.from_numpy(faces[start : start + 100])) for start in range(0, len(faces), 100)]
    return [torch.cat(part).numpy() for part in zip(*parts, strict=True)]


def compare(expected: list[np.ndarray], found: list[np.ndarray]) -> dict[str, float]:
    """The largest difference of any output (NaN if one is not a number), and the share of faces with the same class."""
    differences = [np.abs(a - b).max() for a, b in zip(expected, found, strict=True)]
    same = (expected[0].argmax(axis=1) == found[0].argmax(axis=1)).mean()
    return {"largest_difference": float(np.max(differences)), "same_class": float(same)}


def _as_row(parity: dict[str, Any]) -> dict[str, str]:
    sides = {"from PyTorch": parity["from_pytorch"], "from evaluation": parity["from_evaluation"]}
    return {side: f"{found['largest_difference']:.1e}, {found['same_class']:.1%} same class" for side, found in sides.items()}


def _demand(parity: dict[str, Any], tolerance: float) -> None:
    for name, sides in parity.items():
        for side in ("from_pytorch", "from_evaluation"):
            if not (difference := sides[side]["largest_difference"]) <= tolerance:  # so that NaN fails, too
                raise StageError(
                    f"{name}: the largest difference {side.replace('_', ' ')} is {difference:.2g}, more than "
                    f"export.tolerance = {tolerance:.2g}; see {RELEASE}/parity.json"
                )


if __name__ == "__main__":
    main(run)
