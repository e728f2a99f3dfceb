"""Source ``csv``: any table with the manifest's own columns, one row a face.

``image`` is the path of a picture, relative to the table's folder or to the option ``images`` (a folder or a zip, itself
relative to the table's folder). Every other column of the manifest may be there or not; empty cells are null, votes are
eight numbers separated by spaces. A table in a zip finds its pictures in that zip. Labels are checked, not guessed:
an unknown column or a value outside the vocabulary is an error. A row without ``id`` is called after its number.
"""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from ferflow.datasets import WHOLE, About, DataError, Part, Row, Rows
from ferflow.datasets._files import Files, read_table
from ferflow.datasets._rows import check_columns, checked, parse, picture, unique
from ferflow.registry import register

ABOUT = About(
    title="any CSV table of pictures",
    faces="a row a face, with any of the manifest's labels",
    terms="those of your pictures",
    homepage="",
    layout="a table with the column image (a path) and any columns of the manifest (.csv, or a folder or zip with one)",
    by_hand="nothing to fetch: the table is yours",
)


@register
def load(path: Path, *, seed: int, part: Part = WHOLE, images: str = "") -> Rows:
    """The rows of the table, with the pictures that they name; ``seed`` changes nothing here.

    Raises ``DataError`` with file and line for an unknown column, a value that the manifest may not hold, a picture
    that is not there, and an id that occurs twice.
    """
    path = Path(path)
    if path.is_dir() and len(tables := sorted(path.glob("*.csv"))) == 1:
        path = tables[0]
    if not path.is_file():
        raise DataError(f"{path} is no CSV table, nor a folder or zip with one; expected a table with the column image")
    in_zip = path.suffix.lower() == ".zip" and not images
    with Files(path if in_zip else path.parent / images) as files:
        table = next((name for name in files.names if name.lower().endswith(".csv")), "") if in_zip else ""
        yield from unique(_rows(path, files, PurePosixPath(table).parent, part))


def _rows(path: Path, files: Files, folder: PurePosixPath, part: Part) -> Iterator[tuple[str, Row]]:
    empty = True
    for where, cells in read_table(path, ("image",), part):
        if empty:
            check_columns(str(path), cells)
            empty = False
        row = checked(where, parse(where, cells))
        number = int(where.rpartition(" ")[2]) - 2  # line 1 is the header
        image = picture(where, files, str(folder / row["image"]))
        yield where, {"id": f"{path.stem}-{number:06d}", "source": path.stem, **row, "image": image}
    if empty and part.index == part.count - 1:  # the last share is empty only where all are
        raise DataError(f"{path} has a header and no row")
