"""``ferflow predict``: many pictures through a release, into a table of faces, with what went wrong beside it.

Answers go line by line into a journal beside the wanted table, so that a run that was cut off goes on where it stopped; the
table is made of it at the end. It knows no terminal.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from glob import glob, has_magic  # a pattern may start anywhere: pathlib globs below a folder alone
from hashlib import sha256
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ferflow.drawing import Look, draw
from ferflow.images import ImageError, encode_png, read
from ferflow.inference import FacePrediction, Predictor
from ferflow.streaming import TrackedFace
from ferflow.vocabulary import TASKS, probability_column

SUFFIXES = {
    f".{ending}"
    for ending in [
        "avif",
        "bmp",
        "gif",
        "heic",
        "jfif",
        "jpe",
        "jpeg",
        "jpg",
        "jp2",
        "mpo",
        "pgm",
        "png",
        "ppm",
        "tif",
        "tiff",
        "webp",
    ]
}
_BATCH = 16  # pictures whose faces go through the network together


@dataclass(frozen=True)
class Answer:
    """What a release says of one picture; ``error`` where it could not be read, ``notes`` on how it was."""

    image: str
    faces: list[FacePrediction] = field(default_factory=list)
    notes: tuple[str, ...] = ()
    error: str = ""
    rgb: np.ndarray | None = field(default=None, repr=False, compare=False)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        found = {"image": printable(self.image), "faces": [face.as_dict() for face in self.faces]}
        return found | ({"notes": list(self.notes)} if self.notes else {})


def pictures(inputs: list[str]) -> list[Path]:
    """The pictures that files, folders (with all below them) and patterns (``~/photos/**/*.jpg``) name, each once.

    Raises ``FileNotFoundError`` for an input where nothing is.
    """
    found: dict[Path, None] = {}
    for name in inputs:
        try:
            path = Path(name).expanduser()
        except RuntimeError as error:  # ~somebody who is not known here
            raise FileNotFoundError(f"{name}: {error}") from error
        if path.is_dir():
            some = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
        elif has_magic(name) and not path.exists():
            some = sorted(Path(file) for file in glob(str(path), recursive=True) if Path(file).is_file())  # noqa: PTH207
        else:
            some = [path]  # a file that is not there becomes an error of its own, and does not end the run
        if not some:
            raise FileNotFoundError(f"no picture in {name}; files that end in {', '.join(sorted(SUFFIXES))} count as pictures")
        found |= dict.fromkeys(some)
    return list(found)


def answers(predictor: Predictor, paths: list[Path]) -> Iterator[Answer]:
    """An answer a picture, in order; one that cannot be read has its ``error`` and does not end the run."""
    for start in range(0, len(paths), _BATCH):
        batch: list[Answer] = []
        seen = []
        for path in paths[start : start + _BATCH]:
            try:
                picture = read(path)
            except ImageError as error:
                batch.append(Answer(str(path), error=str(error)))
            else:
                batch.append(Answer(str(path), notes=picture.notes, rgb=picture.rgb))
                seen.append(picture.rgb)
        found = iter(predictor.predict_batch(seen))
        for answer in batch:
            yield answer if answer.error else replace(answer, faces=next(found))


class Journal:
    """Answers on disk, line by line; the first line says which model and settings they are of.

    Raises ``ValueError`` where what lies there is of others.
    """

    def __init__(self, table: Path, predictor: Predictor) -> None:
        if table.is_dir():
            raise IsADirectoryError(f"{table} is a folder: name a file in it")
        self.path = table.with_name(table.name + ".partial")
        head = f"{predictor.fingerprint} {predictor.finder.settings}"
        self._head = sha256(head.encode()).hexdigest()
        self.rows: dict[str, list[dict[str, Any]]] = {}
        if self.path.exists():
            self._restore()
        else:
            table.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text(json.dumps({"journal": self._head}) + "\n")

    def _restore(self) -> None:
        lines = self.path.read_bytes().splitlines(keepends=True)
        whole = [line for line in lines if line.endswith(b"\n")]  # the last one may have been cut off
        try:
            head, *entries = [json.loads(line) for line in whole] or [{}]
        except ValueError as error:
            raise ValueError(f"{self.path} is damaged: remove it, or --again") from error
        if not isinstance(head, dict) or head.get("journal") != self._head:
            raise ValueError(f"{self.path} is of another model or other settings: remove it, write to another file, or --again")
        for entry in entries:
            if entry["stamp"] == _stamp(entry["image"]):  # a picture that changed since is looked at again
                self.rows[entry["image"]] = entry["rows"]
        if len(whole) < len(lines):
            self.path.write_bytes(b"".join(whole))

    def add(self, answer: Answer) -> None:
        """Keep an answer; one with an error is not kept, so that the next run tries it again."""
        rows = self.rows[answer.image] = rows_of(answer)
        with self.path.open("a") as file:
            file.write(json.dumps({"image": answer.image, "stamp": _stamp(answer.image), "rows": rows}) + "\n")

    def finish(self, table: Path, paths: list[Path]) -> int:
        """Write the table (CSV or Parquet, by its name), a row a face, whole or not at all; gives the number of rows.

        The journal goes where every picture has an answer; else it stays, and the same command tries the others again.
        """
        import pandas as pd

        rows = [row for path in paths for row in self.rows.get(str(path), [])]
        frame = pd.DataFrame(rows, columns=None if rows else ["image", "faces"])
        part = table.with_name(table.name + ".part")
        if table.suffix == ".parquet":
            frame.to_parquet(part, compression="zstd", index=False)
        else:
            frame.to_csv(part, index=False)
        part.replace(table)
        if all(str(path) in self.rows for path in paths):
            self.path.unlink()
        return len(frame)


def _stamp(image: str) -> list[int]:
    """Size and time of change of a picture's file; empty where it is gone."""
    try:
        found = Path(image).stat()
    except OSError:
        return []
    return [found.st_size, found.st_mtime_ns]


def printable(name: str) -> str:
    """A path as text that every file and terminal takes: bytes that are no UTF-8 stand as ``\\xe9``."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def rows_of(answer: Answer) -> list[dict[str, Any]]:
    """A row a face, in the columns of the predictions table; a picture without a face has one row with ``faces`` 0."""
    rows = []
    place = {"image": printable(answer.image)} | ({"notes": "; ".join(answer.notes)} if answer.notes else {})
    for number, face in enumerate(answer.faces):
        row: dict[str, Any] = place | {"faces": len(answer.faces), "face": number}
        row |= dict(zip(("left", "top", "right", "bottom"), face.box_xyxy, strict=True))
        row |= {"detection_score": face.detection_score, "expression": face.expression, "confidence": face.confidence}
        row |= {"certain": face.certain, "valence": face.valence, "arousal": face.arousal}
        row |= {name: getattr(face, name) for name in ("age", "gender", "race")}
        for task, shares in face.probabilities.items():
            row |= {probability_column(task, name): share for name, share in shares.items()}
        rows.append({key: value for key, value in row.items() if value is not None})
    return rows or [place | {"faces": 0}]


def drawn_place(image: Path, folder: Path) -> Path:
    """Where ``write_drawn`` puts a picture."""
    path = image.resolve()
    place = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path.relative_to(path.anchor)
    return folder / place.with_name(place.name + ".png")


def write_drawn(answer: Answer, folder: Path) -> Path:
    """Write the picture with its faces boxed and named, as PNG, below ``folder`` as it lies below where one is now.

    A picture from elsewhere goes by its whole path, so that two of the same name do not meet.
    """
    if answer.rgb is None:
        raise ValueError(f"{answer.image} has no pixels to draw on")
    out = drawn_place(Path(answer.image), folder)
    bgr = cv2.cvtColor(answer.rgb, cv2.COLOR_RGB2BGR)
    draw(bgr, [TrackedFace(number + 1, face) for number, face in enumerate(answer.faces)], Look(plane=False))
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(encode_png(np.ascontiguousarray(bgr[:, :, ::-1])))
    return out


def in_words(face: FacePrediction) -> str:
    """One face in one line."""
    box = ", ".join(f"{value:.0f}" for value in face.box_xyxy)
    parts = []
    if face.expression is not None and face.confidence is not None:
        doubt = "" if face.certain else " (uncertain)"
        parts.append(f"{face.emoji} {face.expression} {face.confidence:.0%}{doubt}")
    if face.valence is not None and face.arousal is not None:
        parts.append(f"valence {face.valence:+.2f}, arousal {face.arousal:+.2f}")
    parts += [f"{task} {value}" for task in TASKS if task in ("age", "gender", "race") and (value := getattr(face, task))]
    return f"[{box}] " + ", ".join(parts)
