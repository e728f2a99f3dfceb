"""The two tables on disk: the manifest (faces and labels) and the predictions; Parquet, zstd.

It owns the schemas' Arrow form, streaming writes, and the check that a table is what its name says.
It knows no dataset, no model and no stage.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ferflow.card import Card, task_columns
from ferflow.datasets import DataError, Row
from ferflow.images import ImageError, image_size
from ferflow.vocabulary import EXPRESSIONS, MANIFEST_COLUMNS, SPLITS, TASKS, age_group, entropy

ROWS_A_GROUP = 2000
_ARROW_TYPES = {
    "string": pa.string(),
    "binary": pa.binary(),
    "int32": pa.int32(),
    "float32": pa.float32(),
    "list<int16>": pa.list_(pa.int16()),
}
MANIFEST_SCHEMA = pa.schema([(name, _ARROW_TYPES[kind]) for name, kind in MANIFEST_COLUMNS.items()])


def manifest_writer(path: Path) -> pq.ParquetWriter:
    """A writer of manifests; quick to pack, because images are packed already."""
    return pq.ParquetWriter(path, MANIFEST_SCHEMA, compression="zstd", compression_level=1)


def write_rows(rows: Iterable[Row], path: Path) -> int:
    """Write rows to a manifest as they come, and return how many.

    Fills ``width`` and ``height`` from the image's header (0 where it is no image: validation reports it).
    Raises ``DataError`` with the row's id for an unknown column or a value of the wrong type.
    """
    count = 0
    with manifest_writer(path) as writer:
        iterator = iter(rows)
        while batch := [_with_size(row) for row in islice(iterator, ROWS_A_GROUP)]:
            writer.write_table(_to_arrow(batch))
            count += len(batch)
    return count


def _with_size(row: Row) -> Row:
    if unknown := set(row) - set(MANIFEST_COLUMNS):
        raise DataError(f"row {row.get('id')!r} has the unknown columns {sorted(unknown)}")
    try:
        width, height = image_size(row.get("image") or b"")
    except ImageError:
        width = height = 0
    return {**row, "width": width, "height": height}


def _to_arrow(batch: list[Row]) -> pa.Table:
    try:
        return pa.Table.from_pylist(batch, schema=MANIFEST_SCHEMA)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        for row in batch:
            try:
                pa.Table.from_pylist([row], schema=MANIFEST_SCHEMA)
            except (pa.ArrowInvalid, pa.ArrowTypeError) as cause:
                raise DataError(f"row {row.get('id')!r} does not fit the manifest: {cause}") from error
        raise


def check_manifest(path: Path) -> None:
    """Raise ``DataError`` unless the file is a manifest: the right columns with the right types."""
    if not path.exists():
        raise DataError(f"{path} is not there; run the stage ingest first (dvc repro ingest)")
    try:
        found = pq.read_schema(path)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} is not a Parquet file: {error}") from error
    for field in MANIFEST_SCHEMA:
        if field.name not in found.names or found.field(field.name).type != field.type:
            raise DataError(f"{path}: the column {field.name} should be {field.type}; run dvc repro ingest again")


def read_labels(path: Path) -> pd.DataFrame:
    """Every column of the manifest but the images, one row a face; ``crowd`` in place of ``votes``: the expression with most."""
    check_manifest(path)
    table = pq.read_table(path, columns=[name for name in MANIFEST_COLUMNS if name != "image"])
    labels = table.drop_columns("votes").to_pandas()
    votes = table["votes"].to_pylist() if table["votes"].null_count < len(table) else [None] * len(table)
    return labels.assign(crowd=pd.Series([_most_voted(counts) for counts in votes], index=labels.index, dtype=object))


def _most_voted(counts: list[int] | None) -> str | None:
    most = max(counts or [0])
    return EXPRESSIONS[counts.index(most)] if counts and most and counts.count(most) == 1 else None


def read_votes(path: Path) -> pd.Series:
    """The votes of every face of the manifest, by id: a count an expression, or nothing."""
    check_manifest(path)
    return pq.read_table(path, columns=["id", "votes"]).to_pandas().set_index("id")["votes"]


def iter_images(path: Path) -> Iterator[list[tuple[str, bytes]]]:
    """``(id, encoded image)`` pairs of the manifest, a few thousand at a time, in the order of its rows."""
    check_manifest(path)
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=ROWS_A_GROUP, columns=["id", "image"]):
            yield list(zip(batch["id"].to_pylist(), batch["image"].to_pylist(), strict=True))


def read_images(path: Path, ids: set[str]) -> dict[str, bytes]:
    """The encoded images of some rows, by id, in the manifest's order; row groups without one of them are not read."""
    check_manifest(path)
    found: dict[str, bytes] = {}
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            names = file.read_row_group(group, columns=["id"])["id"].to_pylist()
            if rows := [row for row, name in enumerate(names) if name in ids]:
                images = file.read_row_group(group, columns=["image"])["image"]
                found |= {names[row]: images[row].as_py() or b"" for row in rows}
    return found


def task_labels(labels: pd.DataFrame, task: str) -> pd.DataFrame:
    """The label columns that a task reads, as its classes name them (an age in years becomes its group)."""
    columns = labels[list(TASKS[task].columns)]
    if task == "age":
        return columns["age"].map(age_group, na_action="ignore").to_frame("age")
    return columns


def task_target(labels: pd.DataFrame, task: str, classes: tuple[str, ...]) -> np.ndarray:
    """What ``task`` has to predict, from its label columns (see ``task_labels``).

    Classification: class numbers (N, int64) in the order of ``classes``, -1 where the label is missing or none of
    them. Affect: values (N x 2, float32), NaN where there is no label.
    """
    if TASKS[task].kind == "affect":
        return labels.to_numpy(np.float32)
    return np.asarray(pd.Categorical(labels.iloc[:, 0], categories=list(classes)).codes, np.int64)


def labelled_tasks(labels: pd.DataFrame) -> dict[str, tuple[str, ...]]:
    """The tasks that these labels allow, each with the classes that occur, in the vocabulary's order."""
    found: dict[str, tuple[str, ...]] = {}
    for name, task in TASKS.items():
        if not set(task.columns) <= set(labels):
            continue
        values = task_labels(labels, name)
        if task.kind == "affect":
            if values.notna().any().all():
                found[name] = task.columns
        elif len(present := set(values.iloc[:, 0].dropna())) > 1:
            found[name] = tuple(c for c in task.classes if c in present)
    return found


def predictions_table(card: Card, ids: list[str], split: str, outputs: dict[str, np.ndarray]) -> pd.DataFrame:
    """Rows of the predictions table: id, member, split, every output, and the expression's confidence and entropy.

    ``outputs`` maps a task to N x K probabilities (affect: N x 2 values); float32.
    """
    frame = pd.DataFrame({"id": ids, "member": card.name, "split": split})
    for task, classes in card.tasks.items():
        frame[task_columns(task, classes)] = outputs[task].astype(np.float32)
    if "expression" in outputs:
        frame["confidence"] = outputs["expression"].max(axis=1).astype(np.float32)
        frame["entropy"] = entropy(outputs["expression"]).astype(np.float32)
    return frame


def check_splits(splits: pd.DataFrame, where: str) -> pd.DataFrame:
    """The table of splits, indexed by id; ``DataError`` for an unknown split or an id that occurs twice."""
    if not set(splits["split"]) <= set(SPLITS):
        raise DataError(f"{where}: a split is one of {', '.join(SPLITS)}, found {sorted(set(splits['split']))}")
    if splits["id"].duplicated().any():
        raise DataError(f"{where}: the id {splits['id'][splits['id'].duplicated()].iloc[0]!r} occurs twice")
    return splits.set_index("id")


def load_labels(manifest: Path, splits: Path) -> pd.DataFrame:
    """Labels of every face that has a split, indexed by id, with the columns of the table of splits."""
    table = check_splits(pd.read_parquet(splits), str(splits))
    labels = read_labels(manifest).set_index("id")
    return labels.join(table, how="inner")
