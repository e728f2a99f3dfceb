"""A source's rows into a manifest, share by share, so that processes and machines can work together.

Whoever reads a share writes it as a small manifest of its own; joined in order they are the same bytes, whoever wrote them.
It knows no stage.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from ferflow.datasets import DataError, Part, about
from ferflow.parallel import each, shares
from ferflow.params import Dataset
from ferflow.registry import check_options, get
from ferflow.tables import MANIFEST_SCHEMA, ROWS_A_GROUP, manifest_writer, write_rows

_WORTH_PROCESSES = 200_000_000  # bytes of raw data


def ingest(dataset: Dataset, seed: int, manifest: Path) -> int:
    """Write the source's rows to ``manifest`` and return how many; on an error no manifest is left.

    Raises ``DataError`` for raw data that cannot be read, for an id that occurs twice, and for a source without rows.
    """
    check_options(get("datasets", dataset.source), f"dataset.options for the source {dataset.source}", dataset.options)
    many = about(dataset.source).slow or _bytes(dataset.path) > _WORTH_PROCESSES
    count = shares() if many else 1
    manifest.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=manifest.parent, prefix="ingest-") as folder:
        parts = [Part(index, count) for index in range(count)]
        where = dataset.model_copy(update={"path": dataset.path.resolve()})  # a worker may stand elsewhere
        write = partial(ingest_part, where, seed, Path(folder).resolve())
        written = tqdm(each(write, parts, worth_it=many), total=count, unit="share", desc="ingest", disable=not many)
        try:
            return join(list(written), manifest)
        except DataError as error:
            raise DataError(f"{dataset.path}: {error}") from error


def ingest_part(dataset: Dataset, seed: int, folder: Path, part: Part) -> Path:
    """Write one share of the rows as a manifest of its own in ``folder``; it may be empty."""
    cv2.setNumThreads(1)
    rows = get("datasets", dataset.source)(dataset.path, seed=seed, part=part, **dataset.options)
    path = folder / f"{part.index:05d}.parquet"
    write_rows(rows, path)
    return path


def join(parts: Sequence[Path], manifest: Path) -> int:
    """The manifests ``parts``, one after the other, as one; its row groups do not depend on how the rows were shared."""
    unfinished = manifest.with_suffix(".part")
    seen: set[str] = set()
    try:
        with manifest_writer(unfinished) as writer:
            for table in _regroup(parts):
                _claim(table["id"].to_pylist(), seen)
                writer.write_table(table)
        if not seen:
            raise DataError("the source gave no rows")
        unfinished.replace(manifest)
    finally:
        unfinished.unlink(missing_ok=True)
    return len(seen)


def _regroup(parts: Sequence[Path]) -> Iterator[pa.Table]:
    waiting: list[pa.Table] = []
    for path in parts:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=ROWS_A_GROUP):
                waiting.append(pa.Table.from_batches([batch], MANIFEST_SCHEMA))
                while sum(table.num_rows for table in waiting) >= ROWS_A_GROUP:
                    joined = pa.concat_tables(waiting).combine_chunks()
                    yield joined.slice(0, ROWS_A_GROUP)
                    waiting = [joined.slice(ROWS_A_GROUP)]
    if rest := [table for table in waiting if table.num_rows]:
        yield pa.concat_tables(rest).combine_chunks()


def _claim(ids: list[str | None], seen: set[str]) -> None:
    for id_ in ids:
        if id_ is None:
            raise DataError(f"row {len(seen)} has no id")
        if id_ in seen:
            raise DataError(f"row {len(seen)} has the id {id_!r} of an earlier row; ids must be unique")
        seen.add(id_)


def _bytes(path: Path) -> int:
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size if path.exists() else 0
