"""The table of a video: one row a face a frame, written in pieces, and what a plot needs of it.

It knows no video and no model; a face is what ``Predictor`` says of it.
"""

import csv
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ferflow.card import Card, task_columns
from ferflow.inference import FacePrediction
from ferflow.streaming import Frame

_ROWS = 2000  # rows kept before they are written
_BOX = ("left", "top", "right", "bottom")
_WORDS = ("expression", "age", "gender", "race")


def columns(card: Card) -> dict[str, Any]:
    """The columns of a model's timeline and their Arrow types; what the model has no head for has no column."""
    found: dict[str, Any] = {"frame": pa.int64(), "time_s": pa.float64(), "track": pa.int64()}
    found |= dict.fromkeys((*_BOX, "detection_score"), pa.float32())
    found |= {task: pa.string() for task in _WORDS if task in card.tasks}
    if "expression" in card.tasks:
        found |= {"confidence": pa.float32(), "certain": pa.bool_()}
    for task, names in card.tasks.items():
        found |= dict.fromkeys(task_columns(task, names), pa.float32())
    return found


class Timeline:
    """Writes the table to ``path``, Parquet or CSV by its ending; a context manager. Memory does not grow with the rows."""

    def __init__(self, path: Path, card: Card) -> None:
        self._columns, self._card, self._rows = columns(card), card, list[dict[str, Any]]()
        self.rows = 0
        schema = pa.schema(list(self._columns.items()))
        self._parquet = pq.ParquetWriter(path, schema) if path.suffix == ".parquet" else None
        self._file = None if self._parquet else path.open("w", newline="", encoding="utf-8")
        self._csv = csv.DictWriter(self._file, list(self._columns)) if self._file else None
        if self._csv:
            self._csv.writeheader()

    def add(self, frame: Frame[FacePrediction]) -> None:
        """A row for every face of the frame."""
        self._rows += (self._row(frame, one.track, one.face) for one in frame.faces)
        if len(self._rows) >= _ROWS:
            self._flush()

    def _row(self, frame: Frame[FacePrediction], track: int, face: FacePrediction) -> dict[str, Any]:
        values = {"frame": frame.index, "time_s": frame.time_s, "track": track, "detection_score": face.detection_score}
        row = values | dict(zip(_BOX, face.box_xyxy, strict=True))
        for task, classes in self._card.tasks.items():
            row |= zip(task_columns(task, classes), face.probabilities.get(task, {}).values(), strict=False)
        given = {name: getattr(face, name) for name in (*_WORDS, "confidence", "certain", "valence", "arousal")}
        return row | {name: value for name, value in given.items() if name in self._columns}

    def _flush(self) -> None:
        if self._parquet:
            self._parquet.write_table(pa.Table.from_pylist(self._rows, self._parquet.schema))
        elif self._csv:
            self._csv.writerows(self._rows)
        self.rows += len(self._rows)
        self._rows.clear()

    def __enter__(self) -> "Timeline":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._rows:
            self._flush()
        for one in (self._parquet, self._file):
            if one:
                one.close()


def main_track(path: Path, bins: int = 600) -> tuple[int | None, pd.DataFrame]:
    """The track with the most rows, and the means of its outputs in at most ``bins`` spans of time.

    The columns are time_s (the middle of the span), the expressions' probabilities, valence and arousal, as far as the
    model has them; the table is read piece by piece.
    """
    counts: Counter[Any] = Counter()
    first: dict[Any, float] = {}
    last: dict[Any, float] = {}
    for part in _pieces(path):
        counts.update(part["track"].value_counts().to_dict())
        times = part.groupby("track")["time_s"]
        first = times.min().to_dict() | first
        last |= times.max().to_dict()
    if not counts:
        return None, pd.DataFrame()
    track = max(counts, key=lambda number: (counts[number], -number))
    start, span = first[track], max(last[track] - first[track], 1e-9)
    sums = _summed(path, track, lambda times: ((times - start) / span * (bins - 1)).round().astype(int))
    means = sums.drop(columns="n").div(sums["n"], axis=0).sort_index()
    return int(track), means


def _summed(path: Path, track: int, place: Any) -> pd.DataFrame:
    wanted = ("valence", "arousal")
    total: pd.DataFrame | None = None
    for part in _pieces(path):
        own = part[part["track"] == track]
        names = [name for name in own.columns if name.startswith("p_expression_") or name in wanted]
        own = own[["time_s", *names]].assign(n=1.0)
        piece = own.groupby(place(own["time_s"])).sum()
        total = piece if total is None else total.add(piece, fill_value=0)
    assert total is not None
    return total


def _pieces(path: Path) -> Iterator[pd.DataFrame]:
    if path.suffix == ".parquet":
        with pq.ParquetFile(path) as file:
            yield from (batch.to_pandas() for batch in file.iter_batches(_ROWS))
        return
    parts: Iterable[pd.DataFrame] = pd.read_csv(path, chunksize=_ROWS)
    yield from parts
