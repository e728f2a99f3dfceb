"""What people do with a manifest as a whole: have it described, and take it elsewhere. It knows no stage."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from ferflow.datasets import DataError
from ferflow.ingestion import join
from ferflow.tables import check_manifest, read_images, read_labels, task_labels
from ferflow.vocabulary import EXPRESSIONS

_SUFFIXES = {b"\x89PNG": ".png", b"\xff\xd8\xff": ".jpg", b"RIFF": ".webp", b"BM": ".bmp", b"II*\x00": ".tif", b"MM\x00*": ".tif"}


def described(manifest: Path) -> dict[str, Any]:
    """Counts of everything that a manifest holds, by name; ``DataError`` when there is none."""
    labels = read_labels(manifest)
    found: dict[str, Any] = {"rows": len(labels), "megabytes": round(manifest.stat().st_size / 1e6, 1)}
    for name in ("source", "official_split", "expression", "gender", "race"):
        found[name] = _counts(labels[name])
    found["age"] = _counts(task_labels(labels, "age")["age"])
    for name in ("valence", "arousal"):
        values = labels[name].dropna()
        moments = {"mean": round(float(values.mean()), 3), "sd": round(float(values.std()), 3)} if len(values) else {}
        found[name] = {"rows": len(values)} | moments
    sizes = labels["width"].astype(str) + " x " + labels["height"].astype(str)
    found["size"] = dict(list(_counts(sizes).items())[:5])
    found["subjects"] = int(labels["subject"].nunique())
    found["problems"] = int(labels["problem"].notna().sum())
    return found


def _counts(column: pd.Series) -> dict[str, int]:
    return {str(name): int(count) for name, count in column.dropna().value_counts().items()}


def exported(manifest: Path, target: Path, form: str) -> tuple[int, int]:
    """Write the manifest into the folder ``target`` as ``csv``, ``parquet`` or ``folder``.

    How many faces it were, and how many were left out: those without an expression, of a folder a class. Raises
    ``DataError`` when the target is not empty, and when a folder a class is asked of a manifest without expressions, or
    of one in which only some rows have an official split.
    """
    check_manifest(manifest)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise DataError(f"{target} is not an empty folder: nothing is overwritten")
    labels = read_labels(manifest)
    if form == "folder" and labels["expression"].isna().all():
        raise DataError(f"{manifest} has no expression in any row: there are no classes to make folders of; take csv")
    official = labels["official_split"][labels["expression"].notna()]
    if form == "folder" and official.isna().any() and official.notna().any():
        raise DataError(f"{manifest}: {official.isna().sum()} faces have no official split and the others do; take csv")
    target.mkdir(parents=True, exist_ok=True)
    if form == "parquet":
        return join([manifest], target / "manifest.parquet"), 0
    names = {}
    for row, data in _rows(manifest, labels):
        if form == "folder" and not isinstance(row.expression, str):
            continue
        split = f"{row.official_split}/" if isinstance(row.official_split, str) else ""
        folder = f"{split}{row.expression}" if form == "folder" else "images"
        names[row.id] = f"{folder}/{_safe(row.id, row.Index)}{_suffix(data)}"
        (target / folder).mkdir(parents=True, exist_ok=True)
        (target / names[row.id]).write_bytes(data)
    if form == "csv":
        _write_table(manifest, labels, names, target / "table.csv")
    return len(names), len(labels) - len(names)


def _rows(manifest: Path, labels: pd.DataFrame) -> Iterator[tuple[Any, bytes]]:
    for start in range(0, len(labels), 2000):
        part = labels.iloc[start : start + 2000]
        images = read_images(manifest, set(part["id"]))
        yield from ((row, images[str(row.id)]) for row in part.itertuples())


def _safe(name: str, number: int) -> str:
    """The id as the name of a file; ids that differ only in what a file name cannot hold stay apart by their number."""
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", name)
    return safe if safe == name else f"{safe}-{number}"


def _suffix(data: bytes) -> str:
    return next((suffix for start, suffix in _SUFFIXES.items() if data.startswith(start)), ".bin")


def _write_table(manifest: Path, labels: pd.DataFrame, names: dict[str, str], path: Path) -> None:
    votes = pq.read_table(manifest, columns=["votes"])["votes"].to_pylist()
    words = [" ".join(map(str, counts)) if counts and len(counts) == len(EXPRESSIONS) else "" for counts in votes]
    table = labels.assign(image=labels["id"].map(names), votes=words).drop(columns=["width", "height", "crowd"])
    table.to_csv(path, index=False)
