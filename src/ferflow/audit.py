"""``ferflow data suspects``: which labels a trained member and its neighbours do not believe, as a table and a picture.

It reads the pipeline's files and writes the report; how a suspect is found it does not know: that is ``suspects``.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from ferflow import params
from ferflow.faces import Faces, load_faces
from ferflow.images import decode
from ferflow.plots import gallery
from ferflow.released import load_network
from ferflow.stages import DATA_REPORTS, MANIFEST, MEMBERS, SPLITS, StageError
from ferflow.suspects import cross_validated, find
from ferflow.tables import load_labels, read_images
from ferflow.vocabulary import SPLITS as NAMES

SUSPECTS = DATA_REPORTS / "suspects.csv"
_SHOWN = 48


def suspects(member: str, folds: int) -> pd.DataFrame:
    """Write ``reports/data/suspects.csv`` and ``suspects.png``; one row a suspect, the least believable first.

    Raises ``StageError`` when the member was not trained or has no head for the expression.
    """
    settings = params.load()
    settings.member(member)
    if not (MEMBERS / member / "weights.pt").exists():
        raise StageError(f"models/members/{member} is not there; train it first (dvc repro train@{member})")
    network = load_network(settings.member(member), MEMBERS / member)
    labels = load_labels(MANIFEST, SPLITS)
    if "expression" not in network.heads:
        raise StageError(f"the member {member} has no head for the expression")
    classes = tuple(sorted(labels["expression"].dropna().unique()))
    tasks = {"expression": classes}
    size, modality = settings.dataset.image_size, settings.member(member).modality
    splits = tuple(name for name in NAMES if (labels["split"] == name).any())
    faces = load_faces(MANIFEST, labels, splits, size, modality, tasks)
    ids, features, target = _described(network, list(faces.values()))
    known = target >= 0
    groups = labels.loc[ids, "alike_group"].to_numpy()
    probabilities = cross_validated(features[known], target[known], groups[known], folds, settings.seed)
    found = find(list(np.array(ids)[known]), target[known], probabilities, classes)
    found["split"] = labels.loc[found["id"], "split"].to_numpy()
    SUSPECTS.parent.mkdir(parents=True, exist_ok=True)
    found.to_csv(SUSPECTS, index=False)
    _draw(found.head(_SHOWN), SUSPECTS.with_suffix(".png"))
    return found


@torch.no_grad()
def _described(network: torch.nn.Module, parts: list[Faces]) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Ids, features (N x F) and class numbers (N) of all faces."""
    features = []
    for faces in parts:
        for start in range(0, len(faces.ids), 256):
            pixels = torch.from_numpy(faces.pixels[start : start + 256])
            features.append(network.backbone(network.preprocessing(pixels)).numpy())  # type: ignore[operator]
    ids = [id_ for faces in parts for id_ in faces.ids]
    return ids, np.concatenate(features), np.concatenate([faces.targets["expression"] for faces in parts])


def _draw(found: pd.DataFrame, path: Path) -> None:
    images = read_images(MANIFEST, set(found["id"]))
    captions = [f"{row.label}? {row.suggested}" for row in found.itertuples()]
    title = "labels that are probably wrong: the label, then what the others say"
    gallery([decode(images[id_]) for id_ in found["id"]], captions, None, title, path)
