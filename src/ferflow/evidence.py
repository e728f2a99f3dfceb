"""What the gate needs to know of two models, from files: both are asked about the same test faces and the newest live ones.

The champion's own tables may be long gone, so its ONNX file is asked again. It knows no registry: whoever calls has the files.
"""

import json
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd

from ferflow.card import task_columns
from ferflow.faces import load_faces
from ferflow.finding import Finder, Finding
from ferflow.gate import Evidence
from ferflow.inference import Predictor
from ferflow.tables import load_labels, predictions_table, read_labels

_ROUNDS = 60
_NO_FACES = Finder(Finding("none"))  # faces are cut out already


@dataclass(frozen=True)
class Candidate:
    """A registered version: its ONNX file, and the fingerprint of the faces it was tested on (None: it does not say)."""

    version: int
    path: Path
    test_faces: str | None = None


def gather(
    champion: Candidate,
    challenger: Candidate,
    *,
    manifest: Path,
    splits: Path,
    live: Path | None,
    release: Path,
    validation: Path,
) -> tuple[Evidence, Evidence]:
    """The evidence of both; ``release`` is the folder from which the challenger was registered, ``validation`` the JSON of its
    data, ``live`` a manifest of live faces.

    Raises ``ValueError`` where the release is not the challenger: then its parity says nothing of it.
    """
    if sha256(challenger.path.read_bytes()).digest() != sha256((release / "model.onnx").read_bytes()).digest():
        raise ValueError(f"{release} is not version {challenger.version}: run dvc repro, which registers what it makes")
    predictors = [Predictor(one.path, _NO_FACES) for one in (champion, challenger)]
    test = load_labels(manifest, splits)
    answers = ask(predictors, manifest, test[test["split"] == "test"])
    lively: list[Any] = [(None, None), (None, None)]
    if live is not None:
        lively = ask(predictors, live, read_labels(live).set_index("id").assign(split="test"))
    times = latencies(predictors)
    found: list[dict[str, Any]] = []
    for place, (one, predictor) in enumerate(zip((champion, challenger), predictors, strict=True)):
        evidence: dict[str, Any] = {
            "version": one.version,
            "card": predictor.card,
            "test_faces": one.test_faces,
            "latency_ms": times[place],
        }
        evidence |= dict(zip(("predictions", "labels"), answers[place], strict=True))
        evidence |= dict(zip(("live", "live_labels"), lively[place], strict=True))
        found.append(evidence | {"size_mb": one.path.stat().st_size / 1e6})
    found[1] |= {"parity": parity(release, answers[1][0]), "validation": _checks(validation)}
    return Evidence(**found[0]), Evidence(**found[1])


def ask(predictors: list[Predictor], manifest: Path, labels: pd.DataFrame) -> list[tuple[pd.DataFrame, pd.DataFrame]]:
    """Every model's predictions of the faces in ``labels`` (by id, all of the split ``test``), with their labels."""
    pixels: dict[int, tuple[list[str], np.ndarray]] = {}
    found = []
    for predictor in predictors:
        size = predictor.card.input_size
        if size not in pixels:
            faces = load_faces(manifest, labels, ("test",), size, "rgb", {})["test"]
            pixels[size] = faces.ids, faces.pixels
        ids, crops = pixels[size]
        found.append((predictions_table(predictor.card, ids, "test", predictor.outputs(crops)), labels.loc[ids]))
    return found


def latencies(predictors: list[Predictor], rounds: int = _ROUNDS) -> list[float]:
    """Median milliseconds of one face alone, on one thread; measured in turns, so that a slow moment meets them all."""
    draw = np.random.default_rng(0)
    faces = [draw.integers(0, 255, (1, *2 * [one.card.input_size], 3), dtype=np.uint8) for one in predictors]
    times: list[list[float]] = [[] for _ in predictors]
    for _ in range(rounds + 3):  # the first warm up
        for place, predictor in enumerate(predictors):
            started = perf_counter()
            predictor.outputs(faces[place])
            times[place].append(1000 * (perf_counter() - started))
    return [median(some[3:]) for some in times]


def parity(release: Path, predictions: pd.DataFrame) -> tuple[float, float] | None:
    """The largest difference of the export from PyTorch, from what was evaluated, and of these predictions from the
    release's reference; and the largest that is allowed. None: the release does not say."""
    try:
        known = json.loads((release / "parity.json").read_text())["onnx"]
        card = json.loads((release / "card.json").read_text())
        reference = pd.read_parquet(release / "reference.parquet").set_index("id").loc[predictions["id"]]
        columns = [column for task, classes in card["tasks"].items() for column in task_columns(task, classes)]
        differences = [known[side]["largest_difference"] for side in ("from_pytorch", "from_evaluation")]
        differences.append(np.abs(reference[columns].to_numpy() - predictions[columns].to_numpy()).max())
        return float(np.max(differences)), float(known["allowed"]["largest_difference"])
    except (OSError, KeyError, ValueError):
        return None


def _checks(validation: Path) -> list[dict[str, Any]] | None:
    try:
        found: list[dict[str, Any]] = json.loads(validation.read_text())["checks"]
        return found
    except (OSError, KeyError, ValueError):
        return None
