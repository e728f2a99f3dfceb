"""Source ``folder``: pictures in folders named after their class, the layout of torchvision's ImageFolder.

``<split>/<class>/<file>`` with splits called train, val, valid, validation or test, or ``<class>/<file>`` without
official splits; a folder or a zip, other folders may lie around it. ``task`` says what the classes are, ``classes``
what a folder's name means where it is not a class of ours: ``options: {classes: {smiling: happy}}``.
"""

from pathlib import Path, PurePosixPath
from typing import Any

from ferflow.datasets import WHOLE, About, DataError, Part, Rows
from ferflow.datasets._files import IMAGES, Files, expression
from ferflow.datasets._rows import years
from ferflow.registry import register
from ferflow.vocabulary import AGE_GROUPS, TASKS, age_group

ABOUT = About(
    title="any folder of pictures",
    faces="a folder a class; expression, gender, race or age",
    terms="those of your pictures",
    homepage="",
    layout="<split>/<class>/<file> or <class>/<file> (folder or zip)",
    by_hand="nothing to fetch: the pictures are yours",
)
SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
CLASSES = {task: TASKS[task].classes for task in ("expression", "gender", "race", "age")}
Paths = dict[str, tuple[str, ...]]


@register
def load(path: Path, *, seed: int, part: Part = WHOLE, task: str = "expression", classes: dict[str, Any] | None = None) -> Rows:
    """A row for every picture, with the label ``task`` from its folder's name; ``seed`` changes nothing here.

    Raises ``DataError`` when the path is not there or holds no picture, for a layout that is neither of the two, for an
    unknown task, and for a folder whose class is not known.
    """
    if task not in CLASSES:
        raise DataError(f"dataset.options.task is {task!r}; known: {', '.join(CLASSES)}")
    mapping = {str(folder): str(word) for folder, word in (classes or {}).items()}
    with Files(Path(path), IMAGES) as files:
        paths = _layout(files)
        labels = {parts[-2]: _label(files, name, task, mapping) for name, parts in paths.items()}
        for name, parts in part.of(list(paths.items())):
            yield {
                "id": "/".join(parts),
                "image": files.read(name),
                "source": Path(path).stem,
                "official_split": SPLITS[parts[0].lower()] if len(parts) == 3 else None,
                task: labels[parts[-2]],
            }


def _layout(files: Files) -> Paths:
    """Every file with the parts of its path that count: split, class and name, or class and name.

    Either all files lie in a split or none does: one stray folder would otherwise bring test faces into training.
    """
    if not files.names:
        raise DataError(f"{files.path} holds no picture: expected <split>/<class>/<file> or <class>/<file>")
    parts = {name: PurePosixPath(name).parts for name in files.names}
    split = any(map(_is_in_split, parts.values()))
    depth = 3 if split else 2
    around = next(found[:-depth] for found in parts.values() if _is_in_split(found) or not split)
    for name, found in parts.items():
        if len(found) < depth or found[:-depth] != around or _is_in_split(found) != split:
            wanted = f"<split>/<class>/<file> with splits {', '.join(SPLITS)}" if split else "<class>/<file>"
            raise DataError(f"{files.path}: {name} does not lie as {'/'.join((*around, wanted))}, as other files do")
    return {name: found[-depth:] for name, found in parts.items()}


def _is_in_split(parts: tuple[str, ...]) -> bool:
    return len(parts) > 2 and parts[-3].lower() in SPLITS


def _label(files: Files, name: str, task: str, mapping: dict[str, str]) -> str | float:
    """The label of the folder that a file lies in; ``DataError`` that says how to map it if it has none."""
    folder = PurePosixPath(name).parts[-2]
    label = known(task, mapping.get(folder, folder))
    if label is None:
        means = f"{folder!r}, which dataset.options.classes maps to {mapping[folder]!r}," if folder in mapping else repr(folder)
        raise DataError(
            f"{files.path}: {name} lies in {means} which is no class of the task {task}; known: {', '.join(CLASSES[task])}. "
            f"Map folders to them with dataset.options.classes: {{{folder}: <one of these>}}"
        )
    return label


def known(task: str, word: str) -> str | float | None:
    """The label that a word means: a class of the vocabulary, for an age the years (the middle of a group); None if none."""
    word = word.strip().lower()
    if task == "expression":
        return expression(word)
    if task != "age":
        return word if word in CLASSES[task] else None
    try:
        age = years(word) if word in AGE_GROUPS else float(word)
        age_group(age)
    except ValueError:
        return None
    return age
