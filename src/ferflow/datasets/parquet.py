"""Source ``parquet``: a Parquet file with the manifest's own columns, such as a ``manifest.parquet`` of this project.

``image`` holds the bytes of a picture, or its path relative to the table's folder or to the option ``images`` (a folder or
a zip, itself relative to the table's folder). Every other column of the manifest may be there or not. Labels are
checked as in the source ``csv``; a row without ``id`` is called after its number. Widths and heights are measured anew.
"""

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ferflow.datasets import WHOLE, About, DataError, Part, Row, Rows
from ferflow.datasets._files import Files
from ferflow.datasets._rows import check_columns, checked, picture, unique
from ferflow.registry import register

ABOUT = About(
    title="any Parquet table of pictures",
    faces="a row a face, with any of the manifest's labels",
    terms="those of your pictures",
    homepage="",
    layout="a .parquet file with the column image (bytes or a path) and any columns of the manifest",
    by_hand="nothing to fetch: the table is yours",
)
_ROWS_AT_ONCE = 500


@register
def load(path: Path, *, seed: int, part: Part = WHOLE, images: str = "") -> Rows:
    """The rows of the table; ``seed`` changes nothing here.

    Raises ``DataError`` with file and row (the first is row 0) for what is no Parquet file, an unknown column, a value
    that the manifest may not hold, a picture that is not there, and an id that occurs twice.
    """
    path = Path(path)
    try:
        with pq.ParquetFile(path) as file:
            check_columns(str(path), file.schema_arrow.names)
            if not file.metadata.num_rows:
                raise DataError(f"{path} has no row")
            yield from unique(_rows(path, file, images, part))
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} cannot be read as a Parquet file: {error}") from error


def _rows(path: Path, file: pq.ParquetFile, images: str, part: Part) -> Iterator[tuple[str, Row]]:
    kind = file.schema_arrow.field("image").type
    has_bytes = pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
    with nullcontext() if has_bytes else Files(path.parent / images) as files:
        for number, raw in _numbered(file, part):
            where = f"{path}, row {number}"
            row = checked(where, raw)
            if files is not None:
                row["image"] = picture(where, files, str(row["image"]))
            yield where, {"id": f"{path.stem}-{number:06d}", "source": path.stem, **row}


def _numbered(file: pq.ParquetFile, part: Part) -> Iterator[tuple[int, Row]]:
    """The rows of a part with their numbers; row groups outside it are not read."""
    wanted = part.of(range(file.metadata.num_rows))
    end = 0
    for group in range(file.num_row_groups):
        start, end = end, end + file.metadata.row_group(group).num_rows
        if not wanted or end <= wanted[0] or start > wanted[-1]:
            continue
        for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE, row_groups=[group]):
            skip = min(max(wanted[0] - start, 0), batch.num_rows)
            stop = min(max(wanted[-1] + 1 - start, skip), batch.num_rows)
            yield from enumerate(batch.slice(skip, stop - skip).to_pylist(), start + skip)
            start += batch.num_rows
