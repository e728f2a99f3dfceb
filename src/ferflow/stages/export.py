"""Stage export: the ensemble as one ONNX graph, checked against PyTorch on test faces."""

from typing import Any

import numpy as np
import pandas as pd
import torch

from ferflow import params
from ferflow.card import Card, task_columns
from ferflow.faces import load_faces
from ferflow.model import EnsembleNetwork, FaceNetwork, build
from ferflow.registry import get
from ferflow.stages import ENSEMBLE, MANIFEST, MEMBERS, RELEASE, SPLITS, StageError, Summary, main, read_json, write_json
from ferflow.tables import load_labels


def run() -> Summary:
    """Write ``models/release/``: a file a format, card.json, parity.json and the test predictions as reference.

    Raises ``StageError`` when any probability differs by more than ``export.tolerance`` from PyTorch's, or from
    the predictions that were evaluated.
    """
    settings = params.load()
    ensemble = read_json(ENSEMBLE / "ensemble.json")
    card = Card.model_validate(ensemble["card"]).model_copy(update={"name": "release"})
    release = EnsembleNetwork([load_member(settings, name) for name in card.members], ensemble["weights"]).eval()
    labels = load_labels(MANIFEST, SPLITS)
    faces = load_faces(MANIFEST, labels, ("test",), card.input_size, "rgb", card.tasks)["test"]
    count = min(settings.export.faces, len(faces.ids))
    predictions = pd.read_parquet(ENSEMBLE / "predictions.parquet")
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
        path = exporter.write(release, card, RELEASE)
        found = exporter.read(path)(faces.pixels[:count])
        parity[name] = {"faces": count, "from_pytorch": compare(expected, found), "from_evaluation": compare(reported, found)}
        rows.append({"file": str(path), "megabytes": round(path.stat().st_size / 1e6, 2), "faces": count} | _as_row(parity[name]))
    write_json(parity, RELEASE / "parity.json")
    _demand(parity, settings.export.tolerance)
    return Summary("export", rows)


def load_member(settings: params.Params, name: str) -> FaceNetwork:
    """A trained member's network; its card says which tasks it has."""
    card = Card.model_validate(read_json(MEMBERS / name / "card.json"))
    network = build(settings.member(name), card.tasks, card.input_size, weights=False)
    network.load_state_dict(torch.load(MEMBERS / name / "weights.pt", weights_only=True))
    return network.eval()


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
