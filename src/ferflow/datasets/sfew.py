"""Source ``sfew``: Static Facial Expressions in the Wild 2.0 (Dhall et al., 2011 and 2015): frames of films.

``Train|Val|Test/<class>/Movie_000211240_00000005.png``, the classes Angry, Disgust, Fear, Happy, Neutral, Sad, Surprise; a
folder, a zip of it, or with the aligned faces in the same layout. ``subject`` is the film, not the person: the set does not name
people, and a film must not cross a split. The labels of Test are not public: those rows have a ``problem``.
"""

from pathlib import Path, PurePosixPath

from ferflow.datasets import WHOLE, About, DataError, Part, Row, Rows
from ferflow.datasets._files import IMAGES, Files, expression
from ferflow.registry import register

ABOUT = About(
    title="SFEW 2.0",
    faces="958 training, 436 validation and 372 test frames of films, 7 expressions",
    terms="non-commercial research, with a signed agreement",
    homepage="https://users.cecs.anu.edu.au/~few_group/AFEW.html",
    layout="Train|Val|Test/<class>/Movie_000211240_00000005.png (folder or zip)",
    by_hand="send the signed licence agreement of the page above",
    agreement=True,
)
_SPLITS = {"train": "train", "val": "val", "test": "test"}


@register
def load(path: Path, *, seed: int, part: Part = WHOLE) -> Rows:
    """Rows with the official split; ``DataError`` for a picture that lies in no split or no class."""
    with Files(Path(path), IMAGES) as files:
        if not files.names:
            raise DataError(f"{path} holds no picture: expected Train|Val|Test/<class>/*.png")
        for name in part.of(files.names):
            yield _row(path, name) | {"image": files.read(name)}


def _row(path: Path, name: str) -> Row:
    parts = [piece.lower() for piece in PurePosixPath(name).parts[:-1]]
    split = next((_SPLITS[piece] for piece in reversed(parts) if piece in _SPLITS), None)
    label = expression(parts[-1]) if parts else None
    if split is None or (label is None and split != "test"):
        raise DataError(f"{path}: {name} does not lie in Train|Val|Test/<class>/ with a known class")
    return {
        "id": "sfew-" + "-".join((split, *([label] if label else []), PurePosixPath(name).stem)),
        "source": "sfew",
        "official_split": split,
        "subject": PurePosixPath(name).stem.split("_")[0],
        "expression": label,
        "problem": None if label else "the test labels of SFEW are not public",
    }
