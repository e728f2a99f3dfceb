"""Source ``utkface``: UTKFace, faces of people from 0 to 116 years with age, gender and race in the file's name.

Zhang, Song and Qi, "Age Progression/Regression by Conditional Adversarial Autoencoder" (CVPR 2017). Names are
``<age>_<gender>_<race>_<time>.jpg`` or ``….jpg.chip.jpg`` in a folder or a zip, at any depth. Some names of the set
are malformed: such a face is a row without labels whose ``problem`` says what is wrong. The set has no official
split. Downloads that hold the same files in several folders are read once, as long as the copies are equal.
"""

from pathlib import Path, PurePosixPath

from ferflow.datasets import WHOLE, About, DataError, Part, Row, Rows
from ferflow.datasets._files import IMAGES, Files
from ferflow.registry import register

ABOUT = About(
    title="UTKFace",
    faces="23,708 aligned colour faces of 200 x 200, with age, gender and race",
    terms="non-commercial research only; the pictures' owners keep their rights",
    homepage="https://susanqq.github.io/UTKFace/",
    layout="<age>_<gender>_<race>_<time>.jpg or .jpg.chip.jpg at any depth (folder or zip)",
    kaggle="jangedoo/utkface-new",
)
# What the numbers in a name mean, in the order in which they stand there.
CODES: dict[str, dict[str, str | float]] = {
    "age": {str(age): float(age) for age in range(117)},
    "gender": {"0": "male", "1": "female"},
    "race": {"0": "white", "1": "black", "2": "asian", "3": "indian", "4": "others"},
}


@register
def load(path: Path, *, seed: int, part: Part = WHOLE) -> Rows:
    """A row for every picture; ``seed`` changes nothing here.

    Raises ``DataError`` when the path is not there, holds no picture, a file cannot be read, or two different
    files have the same name.
    """
    with Files(Path(path), IMAGES) as files:
        if not files.names:
            raise DataError(f"{path} holds no picture: expected <age>_<gender>_<race>_<time>.jpg")
        copies: dict[str, list[str]] = {}
        for name in files.names:
            copies.setdefault(_stem(name), []).append(name)
        for stem in part.of(list(copies)):
            yield {"id": f"utkface-{stem}", "image": _one(files, copies[stem]), "source": "utkface", **labels(stem)}


def _stem(name: str) -> str:
    return PurePosixPath(name).name.partition(".")[0].strip()


def _one(files: Files, copies: list[str]) -> bytes:
    """The bytes of a file that may lie there several times; ``DataError`` where the copies differ."""
    image = files.read(copies[0])
    for other in copies[1:]:
        if files.read(other) != image:
            raise DataError(
                f"{files.path}: {copies[0]} and {other} have one name and are different pictures; "
                "let dataset.path point at one of their folders"
            )
    return image


def labels(stem: str) -> Row:
    """Age, gender and race from a name without its endings; or, for a malformed one, the ``problem`` alone."""
    parts = stem.split("_")
    if len(parts) != 4:
        return {"problem": f"the name {stem} has {len(parts)} parts; expected <age>_<gender>_<race>_<time>"}
    found = {label: codes.get(text) for (label, codes), text in zip(CODES.items(), parts, strict=False)}
    if wrong := [f"{label} {text!r}" for (label, value), text in zip(found.items(), parts, strict=False) if value is None]:
        return {"problem": f"the name {stem} has {', '.join(wrong)}; expected age 0 to 116, gender 0 or 1, race 0 to 4"}
    return found
