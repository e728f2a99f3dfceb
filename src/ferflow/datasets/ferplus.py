"""Source ``ferplus``: FER-2013's faces with the ten votes an image of FER+ (Barsoum et al., 2016); eight expressions.

Three layouts. A folder or zip with ``fer2013.csv`` and ``fer2013new.csv``, whose rows correspond. The folders
``FER2013Train``, ``FER2013Valid`` and ``FER2013Test``, each with its pictures and ``label.csv`` (no header: file, box, ten
counts). FER-2013's folder download with ``votes`` in the options: a table with the columns ``fer2013_image`` and the ten
counts. The label is the expression with the most votes; where it is not the only one, or "unknown" or "not a face" has as
many, or the image was taken out, the row has a ``problem`` instead. ``votes`` holds the counts of the eight expressions.
With ``labels: original`` in the options the label is FER-2013's own, every face is kept, and the votes stand beside it.
"""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path, PurePosixPath

from ferflow.datasets import WHOLE, About, DataError, Part, Remote, Row, Rows, fer2013
from ferflow.datasets._files import IMAGES, Files, read_table, rows_of
from ferflow.registry import register
from ferflow.vocabulary import EXPRESSIONS

ABOUT = About(
    title="FER+",
    faces="FER-2013's 35,887 faces, 8 expressions, ten votes each",
    terms="labels MIT; the pictures as FER-2013",
    homepage="https://github.com/microsoft/FERPlus",
    layout="fer2013.csv with fer2013new.csv; or FER2013Train|Valid|Test with label.csv; or FER-2013's folder with options.votes",
    by_hand="the labels alone are here; put FER-2013's fer2013.csv beside them",
    remotes=(Remote("https://raw.githubusercontent.com/microsoft/FERPlus/master/fer2013new.csv"),),
)
COLUMNS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "NF")
_NAMES = ("neutral", "happy", "surprise", "sad", "anger", "disgust", "fear", "contempt")  # ours, in their order
_FOLDERS = {"FER2013Train": "train", "FER2013Valid": "val", "FER2013Test": "test"}


@register
def load(path: Path, *, seed: int, part: Part = WHOLE, votes: str = "", labels: str = "majority") -> Rows:
    """Rows with ``votes`` and the official split; ``DataError`` names file and line of what is wrong."""
    if labels not in ("majority", "original"):
        raise DataError(f"options.labels is majority or original, not {labels!r}")
    for row in _rows(Path(path), votes, part):
        original = row.pop("original", None)
        if labels == "original":
            if original is None:
                raise DataError(f"{path}: this layout of FER+ does not hold FER-2013's own labels")
            row = {name: value for name, value in row.items() if name != "problem"} | {"expression": original}
        yield row


def _rows(path: Path, votes: str, part: Part) -> Rows:
    """Rows by majority, with FER-2013's own label as ``original`` where the layout has it."""
    if votes:
        yield from _with_votes(path, Path(votes), part)
        return
    with Files(path) as files:
        images, table = files.find("fer2013.csv") or files.find("icml_face_data.csv"), files.find("fer2013new.csv")
        listings = [name for name in files.names if name.endswith("/label.csv") or name == "label.csv"]
        if images and table:
            yield from _from_tables(files, images, table, part)
        elif listings:
            for number, share in part.of_blocks(len(listings)):
                yield from _from_folder(files, listings[number], share)
            if part.index == part.count - 1:
                yield from _not_listed(files, listings)
        else:
            raise DataError(f"{path}: neither fer2013.csv with fer2013new.csv, nor FER2013Train/label.csv, is in it")


def judged(counts: list[int]) -> Row:
    """``expression``, ``votes`` and ``problem`` from ten counts in the order of ``COLUMNS``."""
    most = max(counts)
    winners = [COLUMNS[number] for number, count in enumerate(counts) if count == most]
    by_name = dict(zip(_NAMES, counts, strict=False))
    row: Row = {"votes": [by_name[name] for name in EXPRESSIONS]}
    if most == 0:
        return row | {"problem": "FER+: nobody voted"}
    if len(winners) > 1:
        return row | {"problem": f"FER+: as many votes for {' as for '.join(winners)}"}
    if winners[0] in ("unknown", "NF"):
        return row | {"problem": f"FER+: most votes for {'not a face' if winners[0] == 'NF' else 'unknown'}"}
    return row | {"expression": _NAMES[counts.index(most)]}


def _as_ours(row: Row) -> Row:
    """A row of FER-2013 without an expression yet; its own label becomes ``original``."""
    return row | {"source": "ferplus", "original": row["expression"], "expression": None}


def _counts(where: str, cells: list[str]) -> list[int]:
    if len(cells) != len(COLUMNS) or not all(cell.strip().isdigit() for cell in cells):
        raise DataError(f"{where}: expected ten counts of votes ({', '.join(COLUMNS)}), found {', '.join(cells)}")
    return [int(cell) for cell in cells]


def _named(files: Files, name: str, columns: tuple[str, ...], part: Part) -> Iterator[tuple[str, dict[str, str]]]:
    return rows_of(BytesIO(files.read(name, limit=2_000_000_000)), f"{files.path}: {name}", columns, part)


def _from_tables(files: Files, images: str, labels: str, part: Part) -> Rows:
    pairs = zip(
        _named(files, images, ("emotion", "pixels", "Usage"), part),
        _named(files, labels, ("Usage", "Image name", *COLUMNS), part),
        strict=True,
    )
    try:
        for (where, face), (there, votes) in pairs:
            row = _as_ours(fer2013.csv_row(where, face, fer2013.CSV_USAGE))
            if face["Usage"].strip() != votes["Usage"].strip():
                raise DataError(
                    f"{there}: Usage is {votes['Usage']}, but {where} has {face['Usage']}: the tables do not correspond"
                )
            row |= judged(_counts(there, [votes[name] for name in COLUMNS]))
            if not votes["Image name"].strip():
                row |= {"expression": None, "problem": "FER+ took this image out"}
            yield row | {"id": row["id"].replace("fer2013", "ferplus")}
    except ValueError as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{files.path}: {images} and {labels} do not have the same number of rows") from error


def _from_folder(files: Files, listing: str, part: Part) -> Rows:
    folder = PurePosixPath(listing).parent
    if folder.name not in _FOLDERS:
        raise DataError(f"{files.path}: {listing} does not lie in one of {', '.join(_FOLDERS)}")
    for where, row in _listed(files, listing, part):
        name = f"{folder}/{row['file'].strip()}"
        if name not in files:
            raise DataError(f"{where}: {name} is not there")
        yield {
            "id": f"ferplus-{PurePosixPath(name).stem}",
            "image": files.read(name),
            "source": "ferplus",
            "official_split": _FOLDERS[folder.name],
            **judged(_counts(where, [row[column] for column in COLUMNS])),
        }


def _listed(files: Files, listing: str, part: Part = WHOLE) -> Iterator[tuple[str, dict[str, str]]]:
    """The lines of a label.csv, which has no header."""
    header = ",".join(("file", "box", *COLUMNS)) + "\n"
    text = BytesIO(header.encode() + files.read(listing))
    for where, row in rows_of(text, files.called(listing), ("file", "box", *COLUMNS), part):
        name, _, line = where.rpartition(" ")
        yield f"{name} {int(line) - 1}", row


def _not_listed(files: Files, listings: list[str]) -> Rows:
    """The pictures beside a label.csv that it does not name."""
    named = {f"{PurePosixPath(one).parent}/{row['file'].strip()}" for one in listings for _, row in _listed(files, one)}
    folders = {str(PurePosixPath(one).parent) for one in listings}
    for name in files.names:
        path = PurePosixPath(name)
        if path.suffix.lower() in IMAGES and str(path.parent) in folders and name not in named:
            row = {"id": f"ferplus-{path.stem}", "image": files.read(name), "source": "ferplus"}
            yield row | {"official_split": _FOLDERS[path.parent.name], "problem": "label.csv does not name it"}


def _with_votes(path: Path, votes: Path, part: Part) -> Rows:
    table: dict[str, list[int]] = {}
    for where, line in read_table(votes, ("fer2013_image", *COLUMNS)):
        counts = _counts(where, [line[column] for column in COLUMNS])
        before = table.get(line["fer2013_image"], [0] * len(COLUMNS))  # a picture may have been voted on more than once
        table[line["fer2013_image"]] = [a + b for a, b in zip(before, counts, strict=True)]
    with Files(path, IMAGES) as files:
        if files.names and not any(PurePosixPath(name).name in table for name in files.names):
            raise DataError(f"{votes}: none of its pictures, such as {next(iter(table), 'none')}, is in {path}")
        for name in part.of(files.names):
            row = _as_ours(fer2013.file_row(files, name))
            found = table.get(PurePosixPath(name).name)
            judgement = judged(found) if found else {"problem": f"{votes.name} has no votes for it"}
            yield row | {"id": row["id"].replace("fer2013", "ferplus")} | judgement
