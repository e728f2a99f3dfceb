"""Source ``afewva``: AFEW-VA (Kossaifi et al., 2017): frames of films with valence and arousal from -10 to 10.

One folder a clip: ``001/00000.png``, ``00001.png``, ... and ``001/001.json`` with ``video_id``, ``actor`` and, for each
frame, 68 landmarks, ``arousal`` and ``valence``. Values are divided by 10. ``subject`` is the actor. The face is cut out around
its landmarks with a quarter of their extent on every side, unless ``crop`` is false.
"""

import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ferflow.datasets import WHOLE, About, DataError, Part, Row, Rows
from ferflow.datasets._files import Files
from ferflow.images import ImageError, decode, encode_png
from ferflow.registry import register

ABOUT = About(
    title="AFEW-VA",
    faces="30,051 frames of 600 clips, valence and arousal",
    terms="non-commercial research, with a signed agreement",
    homepage="https://ibug.doc.ic.ac.uk/resources/afew-va-database/",
    layout="001/00000.png and 001/001.json (folder or zip)",
    by_hand="ask for it on the page above",
    agreement=True,
)
_SCALE, _MARGIN = 10.0, 0.25


@register
def load(path: Path, *, seed: int, part: Part = WHOLE, crop: bool = True) -> Rows:
    """Rows with ``subject``, valence and arousal; ``DataError`` names the clip's file, and the frame, that is wrong."""
    with Files(Path(path), {".json", ".png", ".jpg"}) as files:
        clips = [name for name in files.names if name.endswith(".json")]
        if not clips:
            raise DataError(f"{path} holds no clip: expected 001/001.json beside 001/00000.png")
        frames = [frame for clip in clips for frame in _frames(files, clip)]
        annotated = {str(PurePosixPath(clip).parent / number) for clip, number, *_ in frames}
        pictures = [name for name in files.names if not name.endswith(".json")]
        others = [name for name in pictures if name.rpartition(".")[0] not in annotated]
        items: list[Any] = [*frames, *others]
        for item in part.of(items):
            if isinstance(item, str):
                yield _not_annotated(files, item)
            else:
                clip, number, actor, frame = item
                yield _row(files, clip, number, actor, frame, crop)


def _not_annotated(files: Files, name: str) -> Row:
    row = {"id": f"afewva-{name.rpartition('.')[0].replace('/', '-')}", "image": files.read(name), "source": "afewva"}
    return row | {"problem": "no annotation of its clip names this frame"}


def _frames(files: Files, clip: str) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    try:
        content = json.loads(files.read(clip))
        for number, frame in sorted(content["frames"].items()):
            yield clip, number, str(content["actor"]), frame
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{files.path}: {clip} is not a clip with 'actor' and 'frames': {error}") from error


def _row(files: Files, clip: str, number: str, actor: str, frame: dict[str, Any], crop: bool) -> Row:
    where = f"{files.path}: {clip}, frame {number}"
    try:
        values = {name: float(frame[name]) / _SCALE for name in ("valence", "arousal")}
        points = np.asarray(frame["landmarks"], np.float64).reshape(-1, 2)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{where}: expected landmarks, valence and arousal: {error}") from error
    if not all(-1 <= value <= 1 for value in values.values()):  # so that NaN fails, too
        raise DataError(f"{where}: valence and arousal lie between -10 and 10, found {frame['valence']}, {frame['arousal']}")
    if not np.isfinite(points).all():
        raise DataError(f"{where}: a landmark is not a number")
    folder = PurePosixPath(clip).parent
    name = next((f"{folder}/{number}{suffix}" for suffix in (".png", ".jpg") if f"{folder}/{number}{suffix}" in files), None)
    if name is None:
        raise DataError(f"{where}: {folder}/{number}.png is not there")
    image = files.read(name)
    if crop and len(points):
        image = _cut(image, points, where)
    return {"id": f"afewva-{folder.name}-{number}", "image": image, "source": "afewva", "subject": actor, **values}


def _cut(image: bytes, points: np.ndarray, where: str) -> bytes:
    try:
        picture = decode(image)
    except ImageError:
        return image  # validation says what is wrong with it
    (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
    margin = _MARGIN * max(right - left, bottom - top)
    rows = slice(max(0, round(top - margin)), max(0, round(bottom + margin)))
    columns = slice(max(0, round(left - margin)), max(0, round(right + margin)))
    face = picture[rows, columns]
    if not face.size:
        raise DataError(f"{where}: the landmarks lie outside the picture")
    return encode_png(face)
