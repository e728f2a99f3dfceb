"""Rows of a log, and a reference, made of numbers that nobody predicted: quick, and drifting as a test wants them to."""

from typing import Any

import numpy as np
import pandas as pd

from ferflow.vocabulary import EXPRESSIONS, GENDERS, entropy, probability_column

CERTAIN = 0.6


def faces(count: int, seed: int = 0, mix: dict[str, float] | None = None, **shift: float) -> pd.DataFrame:
    """Faces as the log has them. ``mix``: weights of expressions; ``shift``: added to a number, in its own units."""
    draw = np.random.default_rng(seed)
    weights = np.array([(mix or {}).get(name, 1.0) for name in EXPRESSIONS])
    truth = draw.choice(len(EXPRESSIONS), count, p=weights / weights.sum())
    logits = draw.normal(0, 1, (count, len(EXPRESSIONS)))
    logits[np.arange(count), truth] += 3
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    female = draw.uniform(0.05, 0.95, count)
    rows: dict[str, Any] = {probability_column("expression", name): shares[:, i] for i, name in enumerate(EXPRESSIONS)}
    rows |= {probability_column("gender", GENDERS[0]): 1 - female, probability_column("gender", GENDERS[1]): female}
    rows |= {"valence": draw.normal(0.1, 0.3, count), "arousal": draw.normal(0, 0.2, count)}
    rows |= {"confidence": shares.max(axis=1), "entropy": entropy(shares)}
    rows |= {"brightness": draw.normal(115, 25, count), "contrast": draw.normal(50, 10, count)}
    rows |= {"sharpness": draw.lognormal(6, 0.5, count)}
    for name, by in shift.items():
        rows[name] = rows[name] + by
    frame = pd.DataFrame(rows).astype(np.float32)
    best = shares.argmax(axis=1)
    names = np.array(EXPRESSIONS, dtype=object)
    return frame.assign(expression=names[best], certain=shares.max(axis=1) >= CERTAIN, label=names[truth])


def reference(count: int = 600, seed: int = 1) -> pd.DataFrame:
    """What travels with a release."""
    made = faces(count, seed)
    return made.assign(id=[f"face-{number}" for number in range(count)], member="release", split="test")


def live(count: int, seed: int = 2, labelled: bool = False, **values: Any) -> pd.DataFrame:
    """Rows as ``livelog.read`` gives them: faces of one picture each, of the client ``c``, with a size and a score."""
    draw = np.random.default_rng([seed, 1])
    made = faces(count, seed, **values)
    made["label"] = made["label"] if labelled else None
    made["certain"] = made["certain"].astype(np.float32)
    sizes = {"face_size": draw.normal(120, 20, count), "detection_score": draw.uniform(0.8, 1, count)}
    return made.assign(faces=1.0, face=0.0, client="c", model_version="models/release", **sizes)


def no_faces(count: int) -> pd.DataFrame:
    """Pictures in which no face was found."""
    return pd.DataFrame({"faces": 0.0, "face": 0.0, "client": "c", "model_version": "models/release"}, index=range(count))


def as_log(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows for ``PredictionLog.add``, without what only reading adds."""
    rows = frame.drop(columns=["label"], errors="ignore").astype(object)
    return [{key: value for key, value in row.items() if value == value} for row in rows.to_dict("records")]
