"""Stage export: the ensemble as one ONNX graph, checked against PyTorch on test faces."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from ferflow import params
from ferflow.card import Card
from ferflow.faces import load_faces, load_labels
from ferflow.inference import Predictor
from ferflow.model import EnsembleNetwork, build
from ferflow.registry import get
from ferflow.stages import ENSEMBLE, MANIFEST, MEMBERS, RELEASE, SPLITS, StageError, Summary, main, read_json, write_json


def run() -> Summary:
    """Write ``models/release/``: model.onnx, card.json, parity.json and the test predictions as reference.

    Raises ``StageError`` when any probability differs from PyTorch's by more than ``export.tolerance``.
    """
    settings = params.load()
    ensemble = read_json(ENSEMBLE / "ensemble.json")
    card = Card.model_validate(ensemble["card"]).model_copy(update={"name": "release"})
    networks = []
    for name in card.members:
        network = build(settings.member(name).model_copy(update={"pretrained": False}), card.tasks, card.input_size)
        network.load_state_dict(torch.load(MEMBERS / name / "weights.pt", weights_only=True))
        networks.append(network.eval())
    release = EnsembleNetwork(networks, ensemble["weights"]).eval()
    path = get("exporters", "onnx")(release, card, RELEASE)
    labels = load_labels(MANIFEST, SPLITS)
    faces = load_faces(MANIFEST, labels, ("test",), card.input_size, "rgb", card.tasks)["test"].pixels
    parity = compare(release, path, faces[: settings.export.faces])
    write_json(parity, RELEASE / "parity.json")
    write_json(card.model_dump(), RELEASE / "card.json")
    predictions = pd.read_parquet(ENSEMBLE / "predictions.parquet")
    predictions[predictions["split"] == "test"].to_parquet(RELEASE / "reference.parquet", compression="zstd", index=False)
    if parity["largest_difference"] > settings.export.tolerance:
        raise StageError(
            f"the export differs from PyTorch by {parity['largest_difference']:.2g}, more than "
            f"export.tolerance = {settings.export.tolerance:.2g}; see {RELEASE}/parity.json"
        )
    return Summary("export", [{"file": str(path), "megabytes": round(path.stat().st_size / 1e6, 2)} | parity])


def compare(network: EnsembleNetwork, path: Path, faces: np.ndarray) -> dict[str, float]:
    """Largest difference of any output between PyTorch and the export, and the share of faces with the same class."""
    with torch.no_grad():
        parts = [network(torch.from_numpy(faces[start : start + 100])) for start in range(0, len(faces), 100)]
    expected = [torch.cat(part).numpy() for part in zip(*parts, strict=True)]
    found = list(Predictor(path).predict_faces(faces).values())
    return {
        "faces": len(faces),
        "largest_difference": float(max(np.abs(a - b).max() for a, b in zip(expected, found, strict=True))),
        "same_class": float((expected[0].argmax(axis=1) == found[0].argmax(axis=1)).mean()),
    }


if __name__ == "__main__":
    main(run)
