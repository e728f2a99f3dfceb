"""Source ``ckplus``: the 48 x 48 crops of the extended Cohn-Kanade set (Lucey et al., 2010), seven emotions, no neutral.

A folder or zip with one folder a class: ``anger contempt disgust fear happy sadness surprise``; the files are called
``S010_004_00000017.png``: subject, sequence, frame. Three frames of each sequence are alike, so that a split must go by subject.
"""

import re
from pathlib import Path, PurePosixPath

from ferflow.datasets import WHOLE, About, DataError, Part, Rows
from ferflow.datasets._files import IMAGES, Files, expression
from ferflow.registry import register

ABOUT = About(
    title="CK+48",
    faces="981 grey faces of 48 x 48, 7 expressions, 118 subjects",
    terms="research only; the makers of CK+ ask for a signed agreement",
    homepage="https://www.jeffcohn.net/resources/",
    layout="<class>/S010_004_00000017.png (folder or zip)",
    by_hand="ask the makers of CK+ for it, on the page above",
    agreement=True,
)
_NAME = re.compile(r"(S\d+)_\d+_\d+$")


@register
def load(path: Path, *, seed: int, part: Part = WHOLE) -> Rows:
    """Rows with ``subject``; ``DataError`` for a file that lies in no class or is not called as above."""
    with Files(Path(path), IMAGES) as files:
        if not files.names:
            raise DataError(f"{path} holds no picture: expected <class>/S010_004_00000017.png")
        for name in part.of(files.names):
            label = expression(PurePosixPath(name).parent.name)
            subject = _NAME.match(PurePosixPath(name).stem)
            if label is None or subject is None:
                raise DataError(f"{path}: {name} is not of the form <class>/S010_004_00000017.png")
            yield {
                "id": f"ckplus-{PurePosixPath(name).stem}",
                "image": files.read(name),
                "source": "ckplus",
                "subject": subject[1],
                "expression": label,
            }
